/** Changes an input a little, or puts it together with a second one. */
export type Mutate = (input: Uint8Array, other?: Uint8Array) => Uint8Array;

/** No mutation makes an input longer than this, so that rounds of mutations stay cheap. */
export const MUTANT_BYTES_MAX = 64 * 1024;

type Change = (input: Uint8Array, other: Uint8Array) => Uint8Array;

/** A whole number from 0 to `count - 1`. */
export function below(random: () => number, count: number): number {
  return Math.floor(random() * count);
}

/** One of `choices`, which must not be empty. */
export function pick<T>(random: () => number, choices: readonly T[]): T {
  return choices[below(random, choices.length)] as T;
}

/** Joins pieces; text counts as one byte per character (Latin-1). */
export function bytesOf(...pieces: readonly (string | Uint8Array)[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat(
      pieces.map((piece) => (typeof piece === "string" ? Buffer.from(piece, "latin1") : piece)),
    ),
  );
}

/**
 * A mutator that draws all it does from `random`: the same seed makes the same mutants. `tokens` is the dictionary of
 * the target: words that mean something to it. One call makes one to four changes; the input is never written to.
 */
export function mutator(
  random: () => number,
  tokens: readonly (string | Uint8Array)[] = ["\r\n", "\0", "\xff"],
): Mutate {
  const changes = changesBy(random, tokens);
  return (input, other = input) => {
    let mutant = input;
    for (let left = 1 + below(random, 4); left > 0; left -= 1) {
      mutant = pick(random, changes)(mutant, other).slice(0, MUTANT_BYTES_MAX);
    }
    return mutant;
  };
}

function changesBy(
  random: () => number,
  tokens: readonly (string | Uint8Array)[],
): readonly Change[] {
  const place = (bytes: Uint8Array) => below(random, bytes.length + 1);
  const range = (bytes: Uint8Array): readonly [from: number, to: number] => {
    const from = place(bytes);
    return [from, Math.min(bytes.length, from + 1 + below(random, 64))];
  };
  const flip: Change = (input) => {
    const mutant = input.slice();
    const at = below(random, input.length);
    if (input.length > 0) mutant[at] = (input[at] ?? 0) ^ (1 << below(random, 8));
    return mutant;
  };
  const overwrite: Change = (input) => {
    const mutant = input.slice();
    if (input.length > 0) mutant[below(random, input.length)] = below(random, 256);
    return mutant;
  };
  const duplicate: Change = (input) => {
    const [from, to] = range(input);
    return bytesOf(input.subarray(0, to), input.subarray(from, to), input.subarray(to));
  };
  const remove: Change = (input) => {
    const [from, to] = range(input);
    return bytesOf(input.subarray(0, from), input.subarray(to));
  };
  const truncate: Change = (input) => input.slice(0, place(input));
  const insertToken: Change = (input) => {
    const at = place(input);
    return bytesOf(input.subarray(0, at), pick(random, tokens), input.subarray(at));
  };
  const splice: Change = (input, other) =>
    bytesOf(input.subarray(0, place(input)), other.subarray(place(other)));
  return [flip, overwrite, duplicate, remove, truncate, insertToken, insertToken, splice];
}
