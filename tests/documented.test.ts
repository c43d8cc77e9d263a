/**
 * The library's public surface: every name of it, and every property of what it names, says in a docstring what it means, and
 * every type that one needs to use them can be named too. The formatter makes the layout that this reads.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { ROOT } from "./support/binary.ts";

type Read = (path: string) => string;

/** A declaration: its lines, and the line before it. */
interface Declaration {
  readonly kind: string;
  readonly lines: readonly string[];
  readonly before: string;
}

const INDEX = "src/index.ts";
const EXPORT = /export (?:type )?\{([^}]*)\} from "([^"]+)"/gu;
const DECLARATION =
  /^export (?:declare )?(?:abstract )?(?:async )?(function|class|interface|type|const)\*? (\w+)/u;
/** A member at the first level, as the formatter indents it. */
const MEMBER = /^ {2}(?:readonly |async |get )*(\w+)\??[:(<]/u;

/** What is wrong with the surface, one line for each thing. */
function findingsOf(read: Read): readonly string[] {
  const exported = exportedBy(read(INDEX));
  return [...exported].flatMap(([name, path]) => {
    const text = read(path);
    const declaration = declarationOf(name, text.split("\n"));
    if (declaration === undefined) return [`${name}: not declared in ${path}`];
    const unnamed = typesIn(declaration)
      .filter((type) => !exported.has(type) && type !== name && isOurs(type, text))
      .map((type) => `${name}: uses ${type}, which is not exported`);
    return [...undocumented(name, declaration), ...unnamed];
  });
}

function exportedBy(index: string): ReadonlyMap<string, string> {
  const all = [...index.matchAll(EXPORT)].flatMap(([, names = "", from = ""]) => {
    const each = names.split(",").map((name) => name.trim().replace(/^type /u, ""));
    const path = posix.join(posix.dirname(INDEX), from);
    return each.filter((name) => name !== "").map((name) => [name, path] as const);
  });
  return new Map(all);
}

function declarationOf(name: string, lines: readonly string[]): Declaration | undefined {
  const start = lines.findIndex((line) => DECLARATION.exec(line)?.[2] === name);
  if (start < 0) return undefined;
  const kind = DECLARATION.exec(lines[start] ?? "")?.[1] ?? "";
  const length = lines.slice(start).findIndex((line) => isEnd(kind, line));
  return {
    kind,
    lines: lines.slice(start, start + length + 1),
    before: lines[start - 1] ?? "",
  };
}

/** Of a function only the signature counts, of a constant its first line. */
function isEnd(kind: string, line: string): boolean {
  if (kind === "function") return /(?:\)|>|\w) \{$/u.test(line) && !/^export .*\(\{$/u.test(line);
  if (kind === "const") return true;
  if (kind === "type") return /;$/u.test(line) && !line.startsWith("    ");
  return /^\}|\{\}$/u.test(line);
}

function undocumented(name: string, { kind, lines, before }: Declaration): readonly string[] {
  const own = isDocstring(before) ? [] : [`${name}: no docstring`];
  // What a class promises is said by the interface that it implements.
  if (kind !== "interface") return own;
  const members = lines.flatMap((line, at) => {
    const member = MEMBER.exec(line)?.[1];
    const isSaid = member === undefined || isDocstring(lines[at - 1] ?? "");
    // What an event is, its kind says; what is told of it, its docstring.
    return isSaid || member === "kind" ? [] : [`${name}.${member}: no docstring`];
  });
  return [...own, ...members];
}

function isDocstring(line: string): boolean {
  return line.trimEnd().endsWith("*/");
}

function typesIn({ kind, lines }: Declaration): readonly string[] {
  // What a class is made of is its own business; it is used through its interface.
  const text = kind === "class" ? (lines[0] ?? "") : lines.join("\n");
  const code = text.replace(/\/\*\*[\s\S]*?\*\//gu, "").replace(/"[^"]*"/gu, "");
  return [...new Set(code.match(/\b[A-Z]\w*[a-z]\w*\b/gu) ?? [])];
}

/** Whether a name comes from this project: declared in the file, or imported from another one of it. */
function isOurs(name: string, text: string): boolean {
  const imports = [...text.matchAll(/import (?:type )?\{([^}]*)\} from "\.[^"]*"/gu)];
  const imported = imports.some(([, names = ""]) => new RegExp(`\\b${name}\\b`, "u").test(names));
  return (
    imported || new RegExp(`^(?:export )?(?:interface|type|class) ${name}\\b`, "mu").test(text)
  );
}

test("everything that the library exports is documented and can be named", () => {
  const read = (path: string) => readFileSync(posix.join(ROOT, path), "utf8");
  expect(exportedBy(read(INDEX)).size).toBeGreaterThan(100);
  expect(findingsOf(read)).toEqual([]);
});

const WRONG: Readonly<Record<string, string>> = {
  "Bare: no docstring": "export interface Bare {\n  /** Said. */\n  readonly a: string;\n}",
  "Bare.b: no docstring":
    "/** Said. */\nexport interface Bare {\n  /** Said. */\n  readonly a: string;\n  b(x: number): void;\n}",
  "Bare: uses Hidden, which is not exported":
    "interface Hidden {}\n/** Said. */\nexport function Bare(\n  a: string,\n  b: Hidden,\n): void {\n}",
  "Bare: not declared in src/a.ts": "/** Said. */\nexport const Other = 1;",
};

test.each(Object.entries(WRONG))("and what is not is seen: %s", (finding, text) => {
  const read = (path: string) => (path === INDEX ? 'export { Bare } from "./a.ts";' : text);
  expect(findingsOf(read)).toEqual([finding]);
});
