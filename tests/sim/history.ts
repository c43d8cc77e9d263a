import type { Verb } from "../../src/queue/control.ts";

/** Everything that a simulation depends on, as plain data: the same history always runs the same way. */
export interface History {
  readonly setup: Setup;
  readonly commands: readonly Command[];
}

export type EngineName = "memory" | "disk";

export interface Setup {
  /** Of the dice of the queue, of the peers and of the power cuts. */
  readonly seed: number;
  readonly engine: EngineName;
  /** Queues that share the store; the disk engine serves one. */
  readonly nodes: number;
  /** What one sync of the disk takes. */
  readonly syncMs: number;
  /** What one delivery to a peer in health takes. */
  readonly peerMs: number;
  readonly split: "none" | "domain" | "recipient";
  /** `separate`: notifications go to a queue of their own. */
  readonly bounces: "same" | "separate";
}

/** What a peer does with mail from now on. `lost`: it takes mail, and the connection drops before we hear of it. */
export type PeerIs =
  | "up"
  | "down"
  | "hung"
  | "slow"
  | "busy"
  | "refusing"
  | "drops"
  | "lost"
  | "throws";

/** One thing that happens. Nothing takes time but `advance`; all between two of them happens at once. */
export type Command =
  | { readonly do: "advance"; readonly ms: number }
  | Send
  | { readonly do: "again"; readonly number: number }
  | { readonly do: "peer"; readonly domain: string; readonly is: PeerIs; readonly ms: number }
  | { readonly do: "verb"; readonly verb: Verb; readonly number: number }
  | { readonly do: "each"; readonly verb: Verb; readonly domain: string }
  | { readonly do: "flush" }
  | Fault
  | { readonly do: "heal" }
  | { readonly do: "crash"; readonly after: number; readonly downMs: number; readonly node: number }
  | {
      readonly do: "stop";
      readonly graceMs: number;
      readonly downMs: number;
      readonly node: number;
    }
  | { readonly do: "pause"; readonly ms: number; readonly node: number };

/**
 * A client sends message `number`. What becomes of a recipient stands in its address: `rNUMBER.INDEX.FATE@DOMAIN`, where
 * the fate is `ok`, `bad` (always 550), `busy` (always 450), `twice` (450 two times) or `dice`.
 */
export interface Send {
  readonly do: "send";
  readonly number: number;
  readonly node: number;
  /** Empty for the null sender. */
  readonly from: string;
  readonly to: readonly string[];
  readonly notify: "none" | "NEVER" | "SUCCESS" | "FAILURE" | "DELAY";
  readonly size: number;
  /** The body is streamed to the store before. */
  readonly streamed: number;
  /** The client gives the id, so that it may send `again`. */
  readonly keyed: number;
  /** `Received` fields that it comes with. */
  readonly hops: number;
}

/**
 * The next `times` operations named fail or wait. `on` is `files.NAME` of the disk or `storage.NAME` of the contract.
 * `torn`: half of it is done, then EIO. `late`: it is done, then fails. `stall`: it takes `ms`.
 */
export interface Fault {
  readonly do: "fault";
  readonly on: string;
  readonly kind: "ENOSPC" | "EIO" | "torn" | "late" | "stall";
  readonly times: number;
  readonly ms: number;
}

/** One line for the setup and one for each command: what a failed run prints, and `--replay` reads. */
export function formatHistory({ setup, commands }: History): string {
  return [{ do: "setup", ...setup }, ...commands].map(formatLine).join("\n");
}

export function formatLine({ do: what, ...rest }: { readonly do: string }): string {
  const fields = Object.entries(rest).map(([name, value]) => `${name}=${String(value)}`);
  return [what, ...fields].join(" ");
}

/** Reads what `formatHistory` wrote; empty lines and those that begin with # are left out. */
export function parseHistory(text: string): History {
  const lines = text.split("\n").map((line) => line.trim());
  const [setup, ...commands] = lines.filter((line) => line !== "" && !line.startsWith("#"));
  if (!setup?.startsWith("setup ")) throw new Error("a history begins with its setup");
  return {
    setup: fieldsOf(setup) as unknown as Setup,
    commands: commands.map((line) => fieldsOf(line) as unknown as Command),
  };
}

function fieldsOf(line: string): Record<string, unknown> {
  const [what = "", ...fields] = line.split(" ");
  const entries = fields.map((field) => {
    const at = field.indexOf("=");
    const [name, value] = [field.slice(0, at), field.slice(at + 1)];
    if (name === "to") return [name, value.split(",")] as const;
    return [name, /^\d+$/u.test(value) ? Number(value) : value] as const;
  });
  return what === "setup"
    ? Object.fromEntries(entries)
    : { do: what, ...Object.fromEntries(entries) };
}
