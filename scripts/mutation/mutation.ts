/** One text of one file, to be found exactly once and replaced. */
export interface Edit {
  /** From the root of the tree. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** A defect that somebody could make, and the tests that must notice it. */
export interface Mutation {
  /** What is wrong with the product now, as a sentence. */
  readonly name: string;
  /** The promise of the design that it breaks. */
  readonly promise: string;
  readonly edits: readonly Edit[];
  /** Paths for `bun test`. */
  readonly tests: readonly string[];
  /** The tests run the executable: it is built with the defect in it. */
  readonly needsExecutable?: true;
}

/** The text with the edit made. Throws when what it replaces is not there exactly once: the list has to follow the code. */
export function edited(text: string, { file, from, to }: Edit): string {
  const count = text.split(from).length - 1;
  if (count !== 1) throw new Error(`${file} has ${count} times, not once: ${from}`);
  return text.replace(from, () => to);
}
