/** What the process ends with, as in sysexits.h. */
export const exit = {
  ok: 0,
  /** The answer is no, such as "not ready". */
  no: 1,
  usage: 64,
  /** What was named does not exist or cannot be used. */
  data: 65,
  unavailable: 69,
  software: 70,
  ioError: 74,
  /** Trying again later may help. */
  temporary: 75,
  noPermission: 77,
  config: 78,
} as const;

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
