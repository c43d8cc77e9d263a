/** What lint cannot say about the whole tree. Every rule carries a small wrong tree that proves it can fail. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { ROOT } from "./support/binary.ts";

/** Text by path from the root of the repository. */
type Tree = ReadonlyMap<string, string>;

interface Rule {
  readonly name: string;
  /** One line for each thing that is wrong. */
  find(tree: Tree): readonly string[];
  /** Each of these trees breaks the rule. */
  readonly wrong: readonly Readonly<Record<string, string>>[];
}

/** Innermost first. A file may import its own room and the rooms before it. */
const ROOMS =
  "lib mail observe schedule policy bounce storage moving relay queue edge admin config app selftest cli main".split(
    " ",
  );

/** Rooms without clock, dice and I/O. */
const PURE_ROOMS = ["mail", "schedule", "policy", "bounce"];

/** Pairs that must stay strangers even though the order would allow them. */
const STRANGERS = new Set([
  "relay>storage",
  "relay>queue",
  "edge>queue",
  "edge>storage",
  "edge>relay",
  "admin>storage",
  "admin>edge",
]);

/** Files that nobody imports: where something starts. */
const ENTRY_POINTS = [
  "src/main.ts", // the executable
  "src/index.ts", // the library
  "src/storage/disk/checkpoint-worker.ts", // a Worker, started by its URL
];

/** Packages that one file hides from all others. */
const HIDDEN_PACKAGES: Readonly<Record<string, string>> = {
  "smtp-server": "edge",
  nodemailer: "relay",
};

interface Ban {
  readonly pattern: RegExp;
  readonly instead: string;
  /** Paths (or beginnings of them) where it is right, and why. */
  readonly except?: Readonly<Record<string, string>>;
  /** Also looked for in comments. */
  readonly inComments?: true;
}

const WORLD = { "src/lib/world.ts": "the one place where time and dice come in" };

/** What must not stand in src, and what to write there. */
const BANS: readonly Ban[] = [
  { pattern: /\bMath\.random\b/u, instead: "the random of a World", except: WORLD },
  {
    pattern: /\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\.now\b/u,
    instead: "the clock of a World",
    except: WORLD,
  },
  {
    pattern: /(?<![.\w#])(?:setTimeout|setInterval|setImmediate)\(/u,
    instead: "clock.after of a World, so that a simulated world can run it",
    except: {
      ...WORLD,
      "src/lib/turn.ts": "the rest of a turn of the event loop, which is no time",
    },
  },
  { pattern: /\bBun\.sleep\b/u, instead: "clock.after of a World" },
  {
    pattern: /\.toString\(\s*["'](?:latin1|binary|ascii)["']/u,
    instead: "bytes: content is never decoded",
    except: { "src/relay/smtp-client.ts": "a peer's reply, of which Latin-1 keeps every byte" },
  },
  { pattern: /(?<![.\w])console\./u, instead: "an event (observe/events.ts)" },
  {
    pattern: /\bprocess\.exit\(/u,
    instead: "a result for main to end with",
    except: {
      "src/main.ts": "the end of the program",
      "src/storage/disk/checkpoint-worker.ts": "the end of a Worker, not of the process",
    },
  },
  {
    pattern: /\b(?:process|Bun)\.env\b/u,
    instead: "a setting of config/schema.ts",
    except: {
      "src/main.ts": "hands the environment in",
      "src/cli/": "hands the environment in",
      "src/app/open-storage.ts": "credentials of a cloud are where all of its tools look for them",
    },
  },
  { pattern: /\b(?:FIXME|TODO|XXX|HACK)\b/u, instead: "the finished work", inComments: true },
];

/** What a pure room must not touch. */
const IMPURE =
  /(?<![.\w"'])(?:(?:Date\.now|Math\.random)\b|new Date\(\s*\)|(?:process|Bun|crypto|performance|console)\.|(?:setTimeout|setInterval|setImmediate|queueMicrotask|fetch)\(|Buffer\b)/u;

/** Modules of the platform that compute and do nothing else. */
const PURE_MODULES: Readonly<Record<string, string>> = {
  "node:url": "domainToASCII: the IDNA tables",
  "node:net": "isIP, isIPv4, isIPv6: the grammar of addresses",
};

/** Files of pure rooms without a test file of their own, and what tests them. */
const TESTED_ELSEWHERE: Readonly<Record<string, string>> = {};

/** Paths of somebody's machine in anything that is published. */
const MACHINE_PATH = /(?<![\w.$}{\])/-])\/(?:root|work|Users)\/\w/u;

const DOCS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE"];

/** All that may lie at the top of the repository. */
const TOP_LEVEL = new Set([
  ...DOCS,
  ...[
    "src",
    "tests",
    "scripts",
    ".ci",
    ".gitignore",
    ".gitattributes",
    "build.ts",
    "package.json",
    "bun.lock",
  ],
  ...["bunfig.toml", "tsconfig.json", "biome.json"],
]);

const roomOf = (path: string) => /^src\/([^/.]+)/u.exec(path)?.[1] ?? "";
const sources = (tree: Tree) => [...tree].filter(([path]) => /^src\/.*\.ts$/u.test(path));
const pureSources = (tree: Tree) =>
  sources(tree).filter(([path]) => PURE_ROOMS.includes(roomOf(path)));

/** Specifiers of imports, exports from, `import()` and Workers. */
function specifiers(text: string): readonly string[] {
  const found = codeOf(text).matchAll(
    /(?:\bfrom|\bimport|\bimport\s*\(|\bnew URL\()\s*["']([^"'\s]+)["']/gu,
  );
  return [...found].map(([, specifier = ""]) => specifier);
}

/** The files that a file imports; the entry point may also read the version in the manifest. */
function targets(path: string, text: string): readonly string[] {
  return specifiers(text)
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => posix.join(posix.dirname(path), specifier))
    .filter((target) => path !== "src/main.ts" || target !== "package.json");
}

/** The text without comments: good enough for this tree, which has no comment signs in its strings but after a colon. */
function codeOf(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//gu, "").replace(/(^|[\s;{}(),])\/\/.*$/gmu, "$1");
}

/** Whether a file has nothing to run: only types. */
function isTypesOnly(text: string): boolean {
  const code = new Bun.Transpiler({ loader: "ts" }).transformSync(text);
  return (
    codeOf(code)
      .replace(/export\s*\{\s*\};?/gu, "")
      .trim() === ""
  );
}

function findBans([path, text]: readonly [string, string]): readonly string[] {
  const code = codeOf(text);
  return BANS.filter(({ except = {} }) => !Object.keys(except).some((ok) => path.startsWith(ok)))
    .filter(({ pattern, inComments }) => pattern.test(inComments ? text : code))
    .map(({ pattern, instead }) => `${path}: ${pattern.source}: use ${instead}`);
}

function isInward(from: string, to: string): boolean {
  const known = ROOMS.includes(from) && ROOMS.includes(to);
  return known && ROOMS.indexOf(to) <= ROOMS.indexOf(from) && !STRANGERS.has(`${from}>${to}`);
}

/** The library's door counts as outermost, like main. */
const roomIn = (path: string) => (path === "src/index.ts" ? "main" : roomOf(path));

const RULES: readonly Rule[] = [
  {
    name: "every file lies in a room",
    find: (tree) =>
      sources(tree)
        .filter(
          ([path]) => !ROOMS.includes(roomIn(path)) || /^src\/(?!main|index)[^/]+$/u.test(path),
        )
        .map(([path]) => path),
    wrong: [{ "src/attic/old.ts": "" }, { "src/mail.ts": "" }],
  },
  {
    name: "imports go inward and strangers stay strangers",
    find: (tree) =>
      sources(tree).flatMap(([path, text]) =>
        targets(path, text)
          .filter((target) => !isInward(roomIn(path), roomIn(target)))
          .map((target) => `${path} -> ${target}`),
      ),
    wrong: [
      { "src/mail/a.ts": 'import { b } from "../queue/b.ts";' },
      { "src/relay/a.ts": 'import type { b } from "../storage/b.ts";' },
      { "src/edge/a.ts": 'export { b } from "../queue/b.ts";' },
      { "src/lib/a.ts": 'const b = await import("../main.ts");' },
      { "src/lib/a.ts": 'import "../../scripts/b.ts";' },
    ],
  },
  {
    name: "every file is imported, or starts something",
    find: (tree) => {
      const reached = new Set(sources(tree).flatMap(([path, text]) => targets(path, text)));
      return sources(tree)
        .map(([path]) => path)
        .filter((path) => !reached.has(path) && !ENTRY_POINTS.includes(path));
    },
    wrong: [{ "src/lib/a.ts": "", "src/main.ts": '// import "./lib/a.ts"' }],
  },
  {
    name: "nothing banned stands in src",
    find: (tree) => sources(tree).flatMap(findBans),
    wrong: [
      { "src/queue/a.ts": "const dice = Math.random();" },
      { "src/queue/a.ts": "const at = Date.now();" },
      { "src/queue/a.ts": "const at = new Date().getTime();" },
      { "src/queue/a.ts": "setTimeout(() => {}, 5);" },
      { "src/queue/a.ts": "await Bun.sleep(5);" },
      { "src/edge/a.ts": 'const text = chunk.toString("latin1");' },
      { "src/edge/a.ts": 'console.log("hi");' },
      { "src/edge/a.ts": "process.exit(1);" },
      { "src/edge/a.ts": "const home = process.env.HOME;" },
      { "src/edge/a.ts": "// TODO: more" },
      { "src/edge/a.ts": "/* FIXME */" },
    ],
  },
  {
    name: "pure rooms touch no clock, dice, I/O or process",
    find: (tree) =>
      pureSources(tree).flatMap(([path, text]) => [
        ...codeOf(text)
          .split("\n")
          .filter((line) => IMPURE.test(line))
          .map((line) => `${path}: ${line.trim()}`),
        ...specifiers(text)
          .filter((name) => !name.startsWith(".") && !Object.hasOwn(PURE_MODULES, name))
          .map((name) => `${path} imports ${name}`),
        ...targets(path, text)
          .filter((target) => target === "src/lib/world.ts")
          .map((target) => `${path} imports ${target}`),
      ]),
    wrong: [
      { "src/mail/a.ts": "const at = new Date();" },
      { "src/policy/a.ts": "const id = crypto.randomUUID();" },
      { "src/bounce/a.ts": "const file = Bun.file(path);" },
      { "src/bounce/a.ts": "const bytes = Buffer.from(text);" },
      { "src/schedule/a.ts": 'import { readFileSync } from "node:fs";' },
      { "src/schedule/a.ts": 'import type { World } from "../lib/world.ts";' },
    ],
  },
  {
    name: "smtp-server and nodemailer are each known to exactly one file",
    find: (tree) =>
      Object.entries(HIDDEN_PACKAGES).flatMap(([name, room]) => {
        const users = sources(tree)
          .filter(([, text]) =>
            specifiers(text).some((each) => each === name || each.startsWith(`${name}/`)),
          )
          .map(([path]) => path);
        const right = users.length === 1 && users.every((path) => roomOf(path) === room);
        return right ? [] : [`${name}: one file of src/${room}, not [${users.join(", ")}]`];
      }),
    wrong: [
      {},
      { "src/edge/a.ts": 'import "smtp-server";', "src/relay/a.ts": 'import "smtp-server";' },
      {
        "src/edge/a.ts": 'import { S } from "smtp-server";',
        "src/queue/a.ts": 'import type { T } from "nodemailer/lib/smtp-connection";',
      },
    ],
  },
  {
    name: "every file of a pure room has its test",
    find: (tree) =>
      pureSources(tree)
        .filter(([path, text]) => !isTypesOnly(text) && !Object.hasOwn(TESTED_ELSEWHERE, path))
        .map(([path]) => path.replace(/^src\/(.*)\.ts$/u, "tests/$1.test.ts"))
        .filter((path) => !tree.has(path)),
    wrong: [{ "src/mail/a.ts": "export const a = 1;" }],
  },
  {
    name: "every exception still names something",
    find: (tree) =>
      [...Object.keys(TESTED_ELSEWHERE), ...BANS.flatMap(({ except }) => Object.keys(except ?? {}))]
        .filter((path) => ![...tree.keys()].some((each) => each.startsWith(path)))
        .map((path) => `${path} is excepted and does not exist`),
    wrong: [{}],
  },
  {
    name: "the documents exist and say something",
    find: (tree) => DOCS.filter((path) => (tree.get(path) ?? "").length < 200),
    wrong: [{}, { "README.md": "soon", "ARCHITECTURE.md": "", "CHANGELOG.md": "", LICENSE: "" }],
  },
  {
    name: "nothing else lies at the top",
    find: (tree) =>
      [...new Set([...tree.keys()].map((path) => path.split("/")[0] ?? ""))].filter(
        (name) => !TOP_LEVEL.has(name),
      ),
    wrong: [{ "notes.txt": "" }, { "lib/a.ts": "" }],
  },
  {
    name: "no text names a path of somebody's machine",
    find: (tree) =>
      [...tree].flatMap(([path, text]) => {
        const line = text.split("\n").findIndex((each) => MACHINE_PATH.test(each));
        return line < 0 ? [] : [`${path}:${line + 1}`];
      }),
    // Put together here, so that this file is not wrong itself.
    wrong: [{ "README.md": `see ${"/root"}/mail` }, { "src/lib/a.ts": `"${"/work"}/x"` }],
  },
];

/** Every text file of the project that git keeps or would keep. */
function readTree(): Tree {
  const ignored = new Set([".git", "node_modules", "slimta-queue", "package-lock.json", "dist"]);
  const isIgnored = (name: string) => ignored.has(name) || /^\.(?:build-|cache)/u.test(name);
  const paths = readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => !isIgnored(entry.name))
    .flatMap((entry) =>
      entry.isDirectory()
        ? readdirSync(`${ROOT}/${entry.name}`, { recursive: true, withFileTypes: true })
            .filter((each) => each.isFile())
            .map((each) => posix.join(posix.relative(ROOT, each.parentPath), each.name))
        : [entry.name],
    );
  return new Map(paths.map((path) => [path, readFileSync(`${ROOT}/${path}`, "utf8")]));
}

describe("tidy", () => {
  const tree = readTree();
  for (const rule of RULES) {
    test(rule.name, () => {
      expect(rule.find(tree)).toEqual([]);
    });
    test(`${rule.name}: and breaking it is seen`, () => {
      for (const wrong of rule.wrong) {
        const found = rule.find(new Map(Object.entries(wrong)));
        expect(found, JSON.stringify(wrong)).not.toBeEmpty();
      }
    });
  }
});
