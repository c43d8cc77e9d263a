import type { Arguments, Option } from "./arguments.ts";
import { oneOfWords } from "./arguments.ts";
import { usageError } from "./cli-error.ts";

const STATES = ["incoming", "active", "deferred", "hold"] as const;

/** The flags that say which messages are meant. */
export const SELECTOR_OPTIONS: readonly Option[] = [
  { name: "state", value: "STATE", doc: `those that are ${STATES.join(", ")}` },
  { name: "domain", value: "DOMAIN", doc: "those for recipients of this domain" },
  { name: "sender", value: "ADDRESS", doc: 'those from this sender; "" is the null sender' },
];

/** The selector flags as the parameters of the admin endpoint. */
export function selectorOf(args: Arguments): Record<string, string> {
  const parameters: Record<string, string> = {};
  const state = args.get("state");
  if (state !== undefined) parameters.state = oneOfWords("state", state, STATES);
  for (const name of ["domain", "sender"]) {
    const value = args.get(name);
    if (value !== undefined) parameters[name] = value;
  }
  return parameters;
}

/** A path with its parameters. */
export function withQuery(path: string, parameters: Readonly<Record<string, string>>): string {
  const query = new URLSearchParams(parameters).toString();
  return query === "" ? path : `${path}?${query}`;
}

/** What the messages of a command are: named one by one, selected by flags, or all. */
export type Chosen =
  | { readonly kind: "ids" }
  | { readonly kind: "selector"; readonly parameters: Readonly<Record<string, string>> }
  | { readonly kind: "all" }
  | { readonly kind: "nothing" };

/** Reads which messages a command is about; ids and selectors do not go together. */
export function chosen(args: Arguments): Chosen {
  const parameters = selectorOf(args);
  const ways = [
    args.positionals.length > 0,
    Object.keys(parameters).length > 0,
    args.has("all"),
  ].filter(Boolean).length;
  if (ways > 1)
    throw usageError("give ids, or --state, --domain and --sender, or --all: not several");
  if (args.positionals.length > 0) return { kind: "ids" };
  if (args.has("all")) return { kind: "all" };
  return ways === 0 ? { kind: "nothing" } : { kind: "selector", parameters };
}
