import type { Env } from "./facts.ts";
import type { Found, Issue, Layer, Origin } from "./origin.ts";
import { relayhostUrl } from "./relay-url.ts";
import { type Setting, splitList } from "./setting.ts";
import { didYouMean } from "./suggest.ts";

/** The text of a file; `undefined` when there is none. Throws when it is there and cannot be read. */
export type ReadFile = (path: string) => string | undefined;

/** A value given on the command line. */
export interface FlagValue {
  /** As typed, such as `--relay`. */
  readonly name: string;
  readonly path: string;
  readonly value: string;
}

const PREFIX = "SLIMTA_QUEUE_";
/** Variables with our prefix that are no settings. */
const RESERVED = new Set([`${PREFIX}CONFIG`]);
/** Kubernetes and Docker links set such variables for a service that is called slimta-queue or slimta-queue-something. */
const SERVICE_LINK =
  /^SLIMTA_QUEUE_(?:[A-Z0-9_]+_)?(?:SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/u;

/** The variable of a setting: `smtp.size_max` is `SLIMTA_QUEUE_SMTP__SIZE_MAX`. */
export function variableOf(path: string): string {
  return `${PREFIX}${path.toUpperCase().replaceAll(".", "__")}`;
}

/** Characters of a configuration file: a thousand networks and a comment for each fit several times. */
export const FILE_LENGTH_MAX = 256 * 1024;

/** The configuration file. */
export function fileLayer(text: string, name: string, settings: readonly Setting[]): Layer {
  const origin: Origin = { kind: "file", name };
  if (text.length > FILE_LENGTH_MAX) {
    const message = `the file is too long: ${text.length} characters, at most ${FILE_LENGTH_MAX} are read`;
    return oneIssue({ path: "", message, origin });
  }
  try {
    return treeLayer(Bun.TOML.parse(text), origin, settings);
  } catch (error) {
    const line = lineOfError(text, messageOf(error));
    const message = `${withoutQuotation(messageOf(error))}${line === undefined ? "" : `, line ${line}`}`;
    return { found: [], issues: [{ path: "", message, origin }] };
  }
}

function treeLayer(tree: object, origin: Origin, settings: readonly Setting[]): Layer {
  const paths = new Set(settings.map(({ path }) => path));
  const visit = (node: object, parent: string): Layer => {
    const keys = keysUnder(parent, settings);
    return joined(Object.entries(node).map(([key, raw]) => entry(key, raw, parent, keys)));
  };
  const entry = (key: string, raw: unknown, parent: string, keys: Set<string>): Layer => {
    const path = parent === "" ? key : `${parent}.${key}`;
    if (paths.has(path)) return { found: [{ path, raw, origin }], issues: [] };
    if (!keys.has(key)) return oneIssue(unknownKey(path, key, keys, paths, origin));
    if (isTable(raw)) return visit(raw, path);
    return oneIssue({ path, message: "expected a table of settings", origin });
  };
  return visit(tree, "");
}

function oneIssue(issue: Issue): Layer {
  return { found: [], issues: [issue] };
}

function keysUnder(parent: string, settings: readonly Setting[]): Set<string> {
  const prefix = parent === "" ? "" : `${parent}.`;
  const below = settings.filter(({ path }) => path.startsWith(prefix));
  return new Set(below.map(({ path }) => path.slice(prefix.length).split(".")[0] ?? ""));
}

function unknownKey(
  path: string,
  key: string,
  keys: Iterable<string>,
  paths: Iterable<string>,
  origin: Origin,
): Issue {
  // A slip in this table first; else the right word in the wrong table.
  const near = didYouMean(key, keys);
  const elsewhere = [...paths].find((known) => known.endsWith(`.${key}`));
  const hint = near === "" && elsewhere !== undefined ? `; did you mean "${elsewhere}"?` : near;
  return { path, message: `no such setting${hint}`, origin };
}

/** Secrets that systemd hands over as files named after the setting (`LoadCredential=relay.password:...`). */
export function credentialLayer(env: Env, readFile: ReadFile, settings: readonly Setting[]): Layer {
  const directory = env.CREDENTIALS_DIRECTORY ?? "";
  if (directory === "") return { found: [], issues: [] };
  const secrets = settings.filter(({ secret }) => secret !== undefined);
  return joined(
    secrets.map(({ path }) => {
      const name = `${directory}/${path}`;
      return fromFile(path, name, { kind: "credential", name }, readFile, "optional");
    }),
  );
}

/** The names that container images of mail relays share: `RELAYHOST`, `RELAYHOST_USERNAME`, `RELAYHOST_PASSWORD[_FILE]`. */
export function dropInLayer(env: Env, readFile: ReadFile): Layer {
  const relayhost = env.RELAYHOST ?? "";
  const origin: Origin = { kind: "environment", name: "RELAYHOST" };
  const host = {
    found: [{ path: "relay.to", raw: [relayhostUrl(relayhost)], origin }],
    issues: [],
  };
  const logins = { RELAYHOST_USERNAME: "relay.username", RELAYHOST_PASSWORD: "relay.password" };
  return joined([
    relayhost === "" ? { found: [], issues: [] } : host,
    ...Object.entries(logins).map(([name, path]) => fromVariable(name, path, env, readFile)),
  ]);
}

/** Variables named after settings, and files named by variables that end in `_FILE`. */
export function environmentLayer(
  env: Env,
  readFile: ReadFile,
  settings: readonly Setting[],
): Layer {
  const known = new Set(settings.map(({ path }) => variableOf(path)));
  const given = settings.map(({ path }) => fromVariable(variableOf(path), path, env, readFile));
  const unknown = Object.keys(env).filter((name) => isOurs(name) && !isKnown(name, known));
  const issues = unknown.map((name): Issue => {
    const message = `no such setting${didYouMean(name, known)}`;
    return { path: name, message, origin: { kind: "environment", name } };
  });
  return joined([...given, { found: [], issues }]);
}

function isOurs(name: string): boolean {
  return name.startsWith(PREFIX) && !RESERVED.has(name) && !SERVICE_LINK.test(name);
}

function isKnown(name: string, known: ReadonlySet<string>): boolean {
  return known.has(name) || (name.endsWith("_FILE") && known.has(name.slice(0, -"_FILE".length)));
}

/** Flags of the command line. A list adds up what its flags give; of anything else the last one counts. */
export function flagLayer(flags: readonly FlagValue[], settings: readonly Setting[]): Layer {
  const known = new Map(settings.map((setting) => [setting.path, setting]));
  const found = new Map<string, Found>();
  const issues: Issue[] = [];
  for (const { name, path, value } of flags) {
    const origin: Origin = { kind: "flag", name };
    const setting = known.get(path);
    if (setting === undefined) {
      issues.push({ path, message: `no such setting${didYouMean(path, known.keys())}`, origin });
      continue;
    }
    const before = found.get(path)?.raw;
    // What a list is made of is decided by its schema; a word such as "none" must get there alone.
    const adds = setting.list && typeof before === "string";
    const raw = adds ? [...splitList(before), ...splitList(value)].join(" ") : value;
    found.set(path, { path, raw, origin });
  }
  return { found: [...found.values()], issues };
}

function fromVariable(name: string, path: string, env: Env, readFile: ReadFile): Layer {
  const fileVariable = `${name}_FILE`;
  // Compose files write `${NAME:-}` for what is not set, so an empty variable is none.
  const value = env[name] ?? "";
  const file = env[fileVariable] ?? "";
  const origin: Origin = { kind: "environment", name };
  if (value !== "" && file !== "") {
    return {
      found: [],
      issues: [{ path, message: `${fileVariable} is set too; set one`, origin }],
    };
  }
  if (value !== "") return { found: [{ path, raw: value, origin }], issues: [] };
  if (file === "") return { found: [], issues: [] };
  return fromFile(path, file, { kind: "environment", name: fileVariable }, readFile, "required");
}

function fromFile(
  path: string,
  file: string,
  origin: Origin,
  readFile: ReadFile,
  need: "required" | "optional",
): Layer {
  try {
    const text = readFile(file);
    if (text === undefined && need === "optional") return { found: [], issues: [] };
    if (text === undefined) throw new Error("no such file");
    return { found: [{ path, raw: text.replace(/\r?\n$/u, ""), origin }], issues: [] };
  } catch (error) {
    const message = `cannot read ${file}: ${messageOf(error)}`;
    return { found: [], issues: [{ path, message, origin }] };
  }
}

/** The first line after which the text is wrong in the same way as the whole. */
function lineOfError(text: string, message: string): number | undefined {
  const lines = text.split("\n");
  for (let count = 1; count <= Math.min(lines.length, LINES_SEARCHED_MAX); count += 1) {
    try {
      Bun.TOML.parse(lines.slice(0, count).join("\n"));
    } catch (error) {
      if (messageOf(error) === message) return count;
    }
  }
  return undefined;
}

const LINES_SEARCHED_MAX = 500;

/** What the parser says without the piece of the file that it repeats: a password that lacks its quotes, for instance. */
function withoutQuotation(message: string): string {
  return message.replace(/:? *".*$/su, "");
}

function joined(layers: readonly Layer[]): Layer {
  return {
    found: layers.flatMap(({ found }) => found),
    issues: layers.flatMap(({ issues }) => issues),
  };
}

function isTable(raw: unknown): raw is object {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw) && !(raw instanceof Date);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
