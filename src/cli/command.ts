import type { Arguments, Option } from "./arguments.ts";
import type { CliParts } from "./parts.ts";

/** One verb of the command line. */
export interface Command {
  /** As typed: `serve`, `queue list`. */
  readonly name: string;
  /** Half a line for the list of commands. */
  readonly summary: string;
  /** What follows the name: `[flags]`, `ID...`. */
  readonly usage: string;
  /** What the summary leaves out; a few lines. */
  readonly details?: string;
  readonly options: readonly Option[];
  /** Takes the flags of the configuration as well. */
  readonly configured: boolean;
  readonly examples: readonly string[];
  /** Resolves with the exit code; throws `CliError`. */
  run(args: Arguments, parts: CliParts): Promise<number>;
}
