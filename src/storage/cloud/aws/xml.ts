/** An element of an answer: attributes and namespaces say nothing that is needed. */
export interface XmlElement {
  readonly name: string;
  /** The text right in it, entities resolved. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

const TOKEN =
  /<\?[^>]*\?>|<!--[\s\S]*?-->|<(?<end>\/?)(?<name>[A-Za-z_][\w:.-]*)(?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(?<empty>\/?)>|(?<text>[^<]+)/gy;

const DEPTH_MAX = 16;

/** Reads the XML that S3 answers with; `undefined` for what is not well-formed. Document types are none of it. */
export function readXml(source: string): XmlElement | undefined {
  const root = open("");
  const path = [root];
  let end = 0;
  for (const { 0: token, index, groups = {} } of source.matchAll(TOKEN)) {
    end = index + token.length;
    if (!take(path, groups)) return undefined;
  }
  const [only, ...others] = root.children;
  const isWhole = end === source.length && path.length === 1 && others.length === 0;
  return isWhole && root.text.trim() === "" ? only : undefined;
}

interface OpenElement extends XmlElement {
  text: string;
  readonly children: OpenElement[];
}

function open(name: string): OpenElement {
  return { name, text: "", children: [] };
}

/** One tag or text; false when it cannot stand there. */
function take(path: OpenElement[], groups: Readonly<Record<string, string | undefined>>): boolean {
  const { end, name, empty, text } = groups;
  const last = path.at(-1);
  if (last === undefined || path.length > DEPTH_MAX) return false;
  if (text !== undefined) {
    const resolved = resolve(text);
    last.text += resolved ?? "";
    return resolved !== undefined;
  }
  if (name === undefined) return true;
  if (end === "/") return empty === "" && path.length > 1 && path.pop()?.name === name;
  const element = open(name);
  last.children.push(element);
  if (empty === "") path.push(element);
  return true;
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

function resolve(text: string): string | undefined {
  if (!text.includes("&")) return text;
  let isGood = true;
  const resolved = text.replace(/&(?:#x([\da-fA-F]{1,6})|#(\d{1,7})|(\w+));|&/gu, (...found) => {
    const [, hex, decimal, name] = found as (string | undefined)[];
    const char = name === undefined ? charOf(hex, decimal) : ENTITIES[name];
    if (char === undefined) isGood = false;
    return char ?? "";
  });
  return isGood ? resolved : undefined;
}

function charOf(hex: string | undefined, decimal: string | undefined): string | undefined {
  const code = hex === undefined ? Number(decimal ?? Number.NaN) : Number.parseInt(hex, 16);
  return code <= 0x10_ff_ff ? String.fromCodePoint(code) : undefined;
}

/** The text of the first child of this name. */
export function textOf(element: XmlElement | undefined, name: string): string | undefined {
  return element?.children.find((child) => child.name === name)?.text;
}

/** Makes text fit to stand between tags. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>]/gu, (char) => `&#${char.charCodeAt(0)};`);
}
