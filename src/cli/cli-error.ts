import { exit } from "../lib/sysexits.ts";

/** Ends a command with a message and an exit code. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly code: number;

  constructor(message: string, options: { readonly code: number; readonly cause?: unknown }) {
    super(message, { cause: options.cause });
    this.code = options.code;
  }
}

/** The command line is wrong: exit code 64. */
export function usageError(message: string): CliError {
  return new CliError(message, { code: exit.usage });
}

/** The reader of our output is gone, as behind `| head`: the command ends quietly. */
export class BrokenPipe extends Error {
  override readonly name = "BrokenPipe";
}
