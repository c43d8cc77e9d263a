import * as v from "valibot";
import { assert } from "../lib/assert.ts";
import { type Config, toConfig } from "./config.ts";
import { type Env, type Facts, placesOf } from "./facts.ts";
import {
  credentialLayer,
  dropInLayer,
  environmentLayer,
  type FlagValue,
  fileLayer,
  flagLayer,
  type ReadFile,
} from "./layers.ts";
import type { Found, Issue, Layer, Origin } from "./origin.ts";
import { showWrong } from "./redact.ts";
import { rules } from "./rules.ts";
import { type ConfigValues, configSchema } from "./schema.ts";
import { type Setting, settingsOf } from "./setting.ts";

/** All that a configuration is made of; nothing else is looked at. */
export interface LoadInput {
  readonly flags: readonly FlagValue[];
  /** From `--config`. */
  readonly configFile?: string;
  readonly env: Env;
  readonly facts: Facts;
  readonly readFile: ReadFile;
}

export type LoadResult = Loaded | Refused;

export interface Loaded {
  readonly kind: "loaded";
  readonly config: Config;
  /** Every setting as written, in the order of the schema. Holds secrets: see `explain`. */
  readonly values: readonly SettingValue[];
  /** The configuration file, if there is one. */
  readonly file: string | undefined;
}

export interface Refused {
  readonly kind: "refused";
  /** Everything that is wrong, not only the first thing. */
  readonly issues: readonly Issue[];
}

/** A setting with what was found for it. */
export interface SettingValue {
  readonly setting: Setting;
  readonly raw: unknown;
  readonly origin: Origin;
}

const DEFAULT: Origin = { kind: "default", name: "" };

/**
 * Reads the configuration: defaults, then the file, systemd's credentials, the environment and flags, each over the one
 * before. Never throws; what is wrong comes back as issues, all of them.
 */
export function loadConfig(input: LoadInput): LoadResult {
  const places = placesOf(input.facts, input.env);
  const schema = configSchema(places);
  const settings = settingsOf(schema);
  const file: ConfigFile = configFile(input, places.configFiles);
  const layers = [
    fileContents(file, settings),
    credentialLayer(input.env, input.readFile, settings),
    dropInLayer(input.env, input.readFile),
    environmentLayer(input.env, input.readFile, settings),
    flagLayer(input.flags, settings),
  ];
  const found = new Map(layers.flatMap((layer) => layer.found).map((one) => [one.path, one]));
  for (const derived of derivedDefaults(found, places.hostname)) found.set(derived.path, derived);
  const parsed = v.safeParse(schema, treeOf(found.values()));
  const unread = (parsed.issues ?? [])
    .map((issue) => valueIssue(issue, settings, found))
    // What only follows from something wrong is not wrong itself.
    .filter(({ origin }) => origin.kind !== "default");
  const values = parsed.output as ConfigValues;
  const broken = ruleIssues(values, [...unread, ...layers.flatMap(issuesOf)], found, input);
  const issues = [...layers.flatMap(issuesOf), ...unread, ...broken];
  if (issues.length > 0) return { kind: "refused", issues };
  assert(parsed.success, "what is refused has an issue");
  const written = settings.map((setting) => writtenValue(setting, found));
  return { kind: "loaded", config: toConfig(values), values: written, file: file.name };
}

interface ConfigFile extends Partial<Layer> {
  readonly name: string | undefined;
  readonly text?: string;
}

/** The file that was asked for, which must be there, or the first of the usual ones that is. */
function configFile({ configFile: flag, env, readFile }: LoadInput, usual: readonly string[]) {
  const variable: Origin = { kind: "environment", name: "SLIMTA_QUEUE_CONFIG" };
  if (flag !== undefined) return askedFile(flag, { kind: "flag", name: "--config" }, readFile);
  if (env.SLIMTA_QUEUE_CONFIG) return askedFile(env.SLIMTA_QUEUE_CONFIG, variable, readFile);
  for (const name of usual) {
    const file = tryFile(name, { kind: "file", name }, readFile);
    if (file.text !== undefined || file.issues !== undefined) return file;
  }
  return { name: undefined };
}

function askedFile(name: string, origin: Origin, readFile: ReadFile): ConfigFile {
  const file = tryFile(name, origin, readFile);
  const missing = file.text === undefined && file.issues === undefined;
  return missing ? unreadable(name, "no such file", origin) : file;
}

function tryFile(name: string, origin: Origin, readFile: ReadFile): ConfigFile {
  try {
    const text = readFile(name);
    return text === undefined ? { name } : { name, text };
  } catch (error) {
    return unreadable(name, error instanceof Error ? error.message : String(error), origin);
  }
}

function unreadable(name: string, reason: string, origin: Origin): ConfigFile {
  return { name, issues: [{ path: "", message: `cannot read ${name}: ${reason}`, origin }] };
}

function fileContents(file: ConfigFile, settings: readonly Setting[]): Layer {
  if (file.name === undefined || file.text === undefined) {
    return { found: [], issues: file.issues ?? [] };
  }
  return fileLayer(file.text, file.name, settings);
}

/** Defaults that follow from what others were set to. */
function derivedDefaults(found: ReadonlyMap<string, Found>, hostname: string): Found[] {
  const derived: Found[] = [];
  const derive = (path: string, raw: unknown, from: string) => {
    const origin: Origin = { kind: "default", name: `follows from ${from}` };
    if (!found.has(path) && found.has(from)) derived.push({ path, raw, origin });
  };
  const name = found.get("smtp.hostname")?.raw ?? hostname;
  derive("relay.ehlo", name, "smtp.hostname");
  derive("bounce.postmaster", `postmaster@${String(name)}`, "smtp.hostname");
  // The usual socket belongs to the usual endpoint: a second daemon on this host must not take it.
  derive("admin.socket", "off", "admin.listen");
  return derived;
}

function treeOf(found: Iterable<Found>): object {
  const tree: Record<string, unknown> = {};
  for (const { path, raw } of found) {
    const keys = path.split(".");
    let node = tree;
    for (const key of keys.slice(0, -1)) {
      node[key] ??= {};
      node = node[key] as Record<string, unknown>;
    }
    node[keys.at(-1) ?? ""] = raw;
  }
  return tree;
}

function valueIssue(
  issue: v.BaseIssue<unknown>,
  settings: readonly Setting[],
  found: ReadonlyMap<string, Found>,
): Issue {
  const keys = (issue.path ?? []).map(({ key }) => String(key));
  const setting = settings.find(({ path }) => `${keys.join(".")}.`.startsWith(`${path}.`));
  const index = setting === undefined ? undefined : keys[setting.path.split(".").length];
  const path = setting?.path ?? keys.join(".");
  const whole = found.get(path)?.raw;
  const shown = showWrong(issue.path?.at(-1)?.value, whole, setting?.secret);
  const message = `expected ${issue.message}, found ${shown}`;
  return {
    path: index === undefined ? path : `${path}[${index}]`,
    message,
    found: shown,
    expected: issue.message,
    origin: found.get(path)?.origin ?? DEFAULT,
  };
}

function ruleIssues(
  values: ConfigValues,
  issues: readonly Issue[],
  found: ReadonlyMap<string, Found>,
  { readFile }: LoadInput,
): Issue[] {
  // Half a configuration would break rules that the whole keeps.
  if (issues.some(({ path }) => path === "")) return [];
  const doubtful = new Set(issues.map(({ path }) => path.replace(/\[\d+\]$/u, "")));
  const asked = rules.filter(({ about }) => about.every((path) => !doubtful.has(path)));
  return asked.flatMap(({ check }) => {
    return check(values, readFile).map(({ path, message }) => {
      return { path, message, origin: found.get(path)?.origin ?? DEFAULT };
    });
  });
}

function writtenValue(setting: Setting, found: ReadonlyMap<string, Found>): SettingValue {
  const one = found.get(setting.path);
  return { setting, raw: one?.raw ?? setting.default, origin: one?.origin ?? DEFAULT };
}

function issuesOf({ issues }: Layer): readonly Issue[] {
  return issues;
}
