import { SETTING_FLAGS, setFlag, settingFlag } from "../config/flags.ts";
import type { FlagValue } from "../config/layers.ts";
import { type Loaded, type LoadResult, loadConfig, type Refused } from "../config/load.ts";
import { formatIssue } from "../config/origin.ts";
import { exit } from "../lib/sysexits.ts";
import type { Arguments, Option } from "./arguments.ts";
import { usageError } from "./cli-error.ts";
import { paint } from "./paint.ts";
import type { CliParts, ServiceIo, Writer } from "./parts.ts";

/** The flags of every command that reads the configuration. */
export const CONFIG_OPTIONS: readonly Option[] = [
  { name: "config", value: "FILE", doc: "read this configuration file" },
  ...SETTING_FLAGS.map(({ name, path, value }) => ({ name, value, doc: `set ${path}` })),
  { name: "set", value: "PATH=VALUE", doc: "set any setting; repeat to add to a list" },
];

/** Reads the configuration that the flags, the environment and the file say. */
export function load(args: Arguments, parts: CliParts): LoadResult {
  const { env, facts, readFile } = parts;
  const configFile = args.get("config");
  const named = configFile === undefined ? {} : { configFile };
  return loadConfig({ flags: flagValues(args), env, facts, readFile, ...named });
}

/** Runs with a good configuration, or tells everything that is wrong with it and resolves with 78. */
export async function withConfig(
  args: Arguments,
  parts: CliParts,
  run: (loaded: Loaded) => Promise<number>,
): Promise<number> {
  const result = load(args, parts);
  if (result.kind === "loaded") return await run(result);
  await tellIssues(result, parts.stderr);
  return exit.config;
}

/** What long-running commands talk through. */
export function serviceIo(args: Arguments, parts: CliParts): ServiceIo {
  const { stdout, stderr } = parts;
  return { stdout, stderr, reload: () => load(args, parts) };
}

/** Writes one line for each problem. */
export async function tellIssues({ issues }: Refused, writer: Writer): Promise<void> {
  const lines = issues.map((issue) => `${paint(writer, "red", "error:")} ${formatIssue(issue)}\n`);
  const count = `${issues.length} ${issues.length === 1 ? "problem" : "problems"}`;
  await writer.write(`${lines.join("")}${count} in the configuration\n`);
}

function flagValues(args: Arguments): FlagValue[] {
  return args.flags.flatMap(({ name, value }) => {
    return settingFlag(name, value) ?? (name === "set" ? [readSet(value)] : []);
  });
}

function readSet(value: string): FlagValue {
  const flag = setFlag(value);
  if (flag === undefined) throw usageError(`--set: expected path.to.key=value, found "${value}"`);
  return flag;
}
