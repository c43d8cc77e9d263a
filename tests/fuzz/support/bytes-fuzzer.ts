import { corpus, type Sample } from "./corpus.ts";
import { minimised } from "./minimise.ts";
import { rounds } from "./rounds.ts";

/** Throws when the product does something wrong with these bytes. */
export type Judge = (bytes: Uint8Array) => Promise<void> | void;

export interface BytesFuzzer {
  /** The directory below `tests/fuzz/corpus`. */
  readonly target: string;
  /** Rounds of the quick form. */
  readonly quick: number;
  /** What mutants are made of, besides the corpus. */
  readonly seeds: readonly Uint8Array[];
  readonly make: (random: () => number, seeds: readonly Uint8Array[]) => Uint8Array;
  readonly judge: Judge;
}

/**
 * Judges every sample of the corpus, then mutants. A mutant that fails is made as small as it can be and still fail, and is
 * told with a command that adds it to the corpus.
 */
export async function fuzzBytes({ target, quick, seeds, make, judge }: BytesFuzzer): Promise<void> {
  const samples = corpus(target);
  for (const sample of samples) await replay(sample, target, judge);
  const all = [...seeds, ...samples.map(({ bytes }) => bytes)];
  await rounds(quick, async (random) => {
    const input = make(random, all);
    const problem = await problemOf(judge, input);
    if (problem === undefined) return;
    const fails = async (smaller: Uint8Array) => (await problemOf(judge, smaller)) !== undefined;
    const least = await minimised(input, fails);
    const told = (await problemOf(judge, least)) ?? problem;
    throw new Error(`${told}\n${howToKeep(target, least)}`, { cause: problem });
  });
}

/** What puts an input into the corpus. */
export function howToKeep(target: string, input: Uint8Array): string {
  const base64 = Buffer.from(input).toString("base64");
  return (
    `the least input that fails, ${input.length} octets: ${JSON.stringify(Buffer.from(input).toString("latin1"))}\n` +
    `to keep it: echo ${base64} | base64 -d > tests/fuzz/corpus/${target}/WHAT-IT-SHOWS`
  );
}

async function replay({ name, bytes }: Sample, target: string, judge: Judge): Promise<void> {
  const problem = await problemOf(judge, bytes);
  if (problem)
    throw new Error(`tests/fuzz/corpus/${target}/${name}: ${problem}`, { cause: problem });
}

async function problemOf(judge: Judge, input: Uint8Array): Promise<Error | undefined> {
  try {
    await judge(input);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
