import type { FlagValue } from "./layers.ts";
import { isStoreUrl } from "./store-url.ts";

/** A flag of the command line that stands for a setting. */
export interface SettingFlag {
  readonly name: string;
  readonly path: string;
  readonly value: string;
}

/** The settings that have a flag of their own; all others are reached by `--set path=value`. */
export const SETTING_FLAGS: readonly SettingFlag[] = [
  { name: "smtp", path: "smtp.listen", value: "HOST:PORT" },
  { name: "admin", path: "admin.listen", value: "HOST:PORT" },
  { name: "spool", path: "spool.dir", value: "DIR|URL" },
  { name: "relay", path: "relay.to", value: "URL" },
  { name: "hostname", path: "smtp.hostname", value: "NAME" },
  { name: "trust", path: "smtp.trust", value: "CIDR" },
  { name: "log-format", path: "log.format", value: "text|json" },
];

/** What a flag of a setting says; `undefined` for any other flag. */
export function settingFlag(name: string, value: string): readonly FlagValue[] | undefined {
  const flag = SETTING_FLAGS.find((candidate) => candidate.name === name);
  if (flag === undefined) return undefined;
  const typed = { name: `--${name}`, value };
  if (flag.path !== "spool.dir") return [{ ...typed, path: flag.path }];
  // One flag for both: what it names is used instead of whatever the file says.
  const directory = { ...typed, path: "spool.dir" };
  return isStoreUrl(value)
    ? [{ ...typed, path: "spool.url" }]
    : [directory, { ...typed, path: "spool.url", value: "" }];
}

/** What `--set path=value` says; `undefined` when there is no `=`. */
export function setFlag(argument: string): FlagValue | undefined {
  const equals = argument.indexOf("=");
  if (equals <= 0) return undefined;
  const path = argument.slice(0, equals).trim();
  return { name: "--set", path, value: argument.slice(equals + 1) };
}
