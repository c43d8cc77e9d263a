import type { Config } from "../config/config.ts";
import type { Env, Facts } from "../config/facts.ts";
import type { ReadFile } from "../config/layers.ts";
import type { LoadResult } from "../config/load.ts";

/** Where text goes. */
export interface Writer {
  /** Resolves when more may come. Rejects with `BrokenPipe` when nobody reads any more. */
  write(data: string | Uint8Array): Promise<void>;
  /** Colours are understood and wanted. */
  readonly colour: boolean;
}

/** What every command talks through. */
export interface Io {
  readonly stdout: Writer;
  readonly stderr: Writer;
}

/** What `serve` and `fsck` get besides the configuration. */
export interface ServiceIo extends Io {
  /** Reads the configuration again, with the same flags and environment. */
  reload(): LoadResult;
}

export interface FsckOptions {
  readonly repair: boolean;
}

export interface SelftestOptions {
  readonly dir: string;
  readonly durationMs: number;
  readonly json: boolean;
  readonly strict: boolean;
}

export interface TransferOptions {
  readonly from: string;
  readonly to: string;
  readonly dryRun: boolean;
  readonly json: boolean;
  /** Aborted: it ends as soon as nothing is under way. */
  readonly signal: AbortSignal;
}

/** The queue of another program, as the command line names it. */
export type ForeignQueue =
  | { readonly kind: "slimta-disk"; readonly envDir: string; readonly metaDir: string }
  | { readonly kind: "slimta-redis"; readonly url: string; readonly prefix: string }
  | {
      readonly kind: "postfix";
      readonly queueDir: string | undefined;
      readonly configDir: string | undefined;
    };

export interface ImportOptions {
  readonly from: ForeignQueue;
  readonly to: string;
  /** Removes from the other queue what is stored here. */
  readonly remove: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  /** Aborted: it ends as soon as nothing is under way. */
  readonly signal: AbortSignal;
}

/** All that the command line takes from the rest of the program and from the machine. */
export interface CliParts extends Io {
  /** Runs the daemon until it is told to stop; resolves with the exit code. */
  readonly serve: (config: Config, io: ServiceIo) => Promise<number>;
  /** Checks a spool that no daemon uses; resolves with the exit code. */
  readonly fsck: (config: Config, options: FsckOptions, io: ServiceIo) => Promise<number>;
  /** Moves all mail of one store to another one; resolves with the exit code. */
  readonly transfer: (config: Config, options: TransferOptions, io: Io) => Promise<number>;
  /** Takes over the queue of another program; resolves with the exit code. */
  readonly importMail: (config: Config, options: ImportOptions, io: Io) => Promise<number>;
  /** Tries a volume out; resolves with the exit code. */
  readonly selftest: (options: SelftestOptions, io: Io) => Promise<number>;
  readonly env: Env;
  readonly facts: Facts;
  readonly readFile: ReadFile;
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly fetch: Fetch;
  /** Whether there is a file of any kind. */
  readonly exists: (path: string) => boolean;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Aborted by the first INT or TERM after this was called; until then they keep their usual effect. */
  readonly stopSignal: () => AbortSignal;
  readonly version: { readonly version: string; readonly commit: string };
}

/** `fetch` as far as it is used here; `unix` is the path of a socket. */
export type Fetch = (
  url: string,
  init: {
    readonly method: string;
    readonly headers: Record<string, string>;
    readonly signal: AbortSignal;
    readonly unix?: string;
  },
) => Promise<Response>;
