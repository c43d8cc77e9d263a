import type { Env, Facts } from "../../src/config/facts.ts";
import { type Loaded, type LoadInput, loadConfig, type Refused } from "../../src/config/load.ts";
import { formatIssue } from "../../src/config/origin.ts";

export const FILE = "/etc/slimta-queue/config.toml";
export const root: Facts = { uid: 0, home: "/root", hostname: "mx1.example.org" };

export interface Given {
  readonly toml?: string;
  readonly env?: Env;
  /** `path=value`, as after `--set`. */
  readonly set?: readonly string[];
  readonly files?: Readonly<Record<string, string>>;
  readonly facts?: Facts;
  readonly configFile?: string;
}

export function input({
  toml,
  env = {},
  set = [],
  files = {},
  facts = root,
  ...rest
}: Given): LoadInput {
  const all: Record<string, string> = { ...(toml === undefined ? {} : { [FILE]: toml }), ...files };
  const flags = set.map((text) => {
    const [path = "", ...value] = text.split("=");
    return { name: "--set", path, value: value.join("=") };
  });
  return { flags, env, facts, readFile: (path) => all[path], ...rest };
}

export function loaded(given: Given): Loaded {
  const result = loadConfig(input(given));
  if (result.kind === "loaded") return result;
  throw new Error(result.issues.map(formatIssue).join("\n"));
}

export function refused(given: Given): Refused {
  const result = loadConfig(input(given));
  if (result.kind === "refused") return result;
  throw new Error("expected issues, and there are none");
}

/** Every problem as a line. */
export function problems(given: Given): string[] {
  return refused(given).issues.map(formatIssue);
}
