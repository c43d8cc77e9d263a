import { didYouMean } from "../config/suggest.ts";
import { usageError } from "./cli-error.ts";

/** One flag that a command takes. */
export interface Option {
  /** Without the dashes. */
  readonly name: string;
  /** What its value is called in the help; absent for a flag that has none. */
  readonly value?: string;
  readonly doc: string;
  readonly short?: string;
}

/** The command line of one command. */
export interface Arguments {
  readonly positionals: readonly string[];
  /** Every flag that was given, in order. */
  readonly flags: readonly { readonly name: string; readonly value: string }[];
  /** Whether a flag was given. */
  has(name: string): boolean;
  /** The last value of a flag. */
  get(name: string): string | undefined;
  all(name: string): readonly string[];
}

/**
 * Reads `--flag value`, `--flag=value`, `-f` and what is left; `--` ends the flags and `-` is no flag. Throws a usage
 * error that names what is wrong and, where it can, what was meant.
 */
export function parseArguments(argv: readonly string[], options: readonly Option[]): Arguments {
  const positionals: string[] = [];
  const flags: { name: string; value: string }[] = [];
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") positionals.push(...rest.splice(0));
    else if (word.startsWith("-") && word !== "-") flags.push(readFlag(word, rest, options));
    else positionals.push(word);
  }
  const all = (name: string) =>
    flags.filter((flag) => flag.name === name).map(({ value }) => value);
  return {
    positionals,
    flags,
    has: (name) => flags.some((flag) => flag.name === name),
    get: (name) => all(name).at(-1),
    all,
  };
}

function readFlag(word: string, rest: string[], options: readonly Option[]) {
  const [typed = "", inline] = split(word);
  const option = options.find(({ name, short }) => `--${name}` === typed || `-${short}` === typed);
  if (option === undefined) {
    const names = options.map(({ name }) => `--${name}`);
    throw usageError(`unknown flag ${typed}${didYouMean(typed, names)}`);
  }
  if (option.value === undefined) {
    if (inline !== undefined) throw usageError(`--${option.name} takes no value`);
    return { name: option.name, value: "" };
  }
  const value = inline ?? (rest[0]?.startsWith("--") === true ? undefined : rest.shift());
  if (value === undefined) throw usageError(`--${option.name} needs a value: ${option.value}`);
  return { name: option.name, value };
}

function split(word: string): [string, string | undefined] {
  const equals = word.indexOf("=");
  return equals < 0 ? [word, undefined] : [word.slice(0, equals), word.slice(equals + 1)];
}

/** A whole number out of a flag's value, within bounds. */
export function wholeNumber(flag: string, value: string, least: number, most: number): number {
  const number = /^\d{1,15}$/u.test(value) ? Number(value) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw usageError(`--${flag}: expected a whole number from ${least} to ${most}, found "${value}"`);
}

/** One of a few words out of a flag's value. */
export function oneOfWords<const T extends string>(
  flag: string,
  value: string,
  words: readonly T[],
): T {
  const word = words.find((candidate) => candidate === value);
  if (word !== undefined) return word;
  const hint = didYouMean(value, words);
  throw usageError(`--${flag}: expected one of ${words.join(", ")}, found "${value}"${hint}`);
}
