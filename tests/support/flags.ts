import { type ParseArgsOptionsConfig, parseArgs } from "node:util";

/** The exit code for a call that is wrong (sysexits: EX_USAGE). */
const USAGE = 64;

/** What a script is told on its command line. */
export interface Flags<T extends ParseArgsOptionsConfig> {
  readonly values: ReturnType<typeof parseArgs<{ options: T }>>["values"];
  /** A flag as a number; `usual` when it was not given. Anything else ends the process. */
  number(flag: keyof T & string, limits?: NumberLimits): number;
  /** A flag as one of these words. Anything else ends the process. */
  word<W extends string>(flag: keyof T & string, words: readonly W[]): W;
  /** Says in one line what is wrong with the call, and ends the process with 64. */
  refuse(reason: string): never;
}

export interface NumberLimits {
  readonly least?: number;
  readonly usual?: number;
  /** Fractions are refused, too. */
  readonly whole?: true;
}

/**
 * The flags of the script `name`. `--help` prints `help` and ends the process with 0; what is no flag, or lacks its value, is told
 * in one line and ends it with 64.
 */
export function scriptFlags<T extends ParseArgsOptionsConfig>(
  name: string,
  help: string,
  options: T,
): Flags<T> {
  const refuse = (reason: string): never => {
    console.error(`${name}: ${reason}; --help tells more`);
    process.exit(USAGE);
  };
  const values = valuesOf(options, help, refuse);
  const given = (flag: string) => (values as Readonly<Record<string, unknown>>)[flag];
  return {
    values,
    refuse,
    number(flag, { least = 0, usual, whole } = {}) {
      const value = given(flag) === undefined ? usual : Number(given(flag) || Number.NaN);
      if (
        value !== undefined &&
        value >= least &&
        (whole ? Number.isInteger : Number.isFinite)(value)
      )
        return value;
      return refuse(`--${flag} takes a ${whole ? "whole " : ""}number, at least ${least}`);
    },
    word(flag, words) {
      const word = words.find((each) => each === given(flag));
      return word ?? refuse(`--${flag} takes one of ${words.join(", ")}`);
    },
  };
}

function valuesOf<T extends ParseArgsOptionsConfig>(
  options: T,
  help: string,
  refuse: (reason: string) => never,
): Flags<T>["values"] {
  try {
    const { values } = parseArgs({ options: { ...options, help: { type: "boolean" } } });
    const { help: isAsked, ...rest } = values as typeof values & { readonly help?: boolean };
    if (isAsked) {
      console.log(help);
      process.exit(0);
    }
    return rest as Flags<T>["values"];
  } catch (error) {
    return refuse((error instanceof Error ? error.message : String(error)).split(". ")[0] ?? "");
  }
}
