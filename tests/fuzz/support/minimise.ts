/** Inputs that are tried before the search is content with what it has. */
const TRIES_MAX = 2000;

/** Takes pieces out of an input, large ones first, as long as what is left still fails. */
export async function minimised(
  input: Uint8Array,
  fails: (smaller: Uint8Array) => Promise<boolean> | boolean,
): Promise<Uint8Array> {
  let least = input;
  let tries = 0;
  for (let length = Math.ceil(input.length / 2); length >= 1; length = Math.floor(length / 2)) {
    for (let at = 0; at < least.length && tries < TRIES_MAX; tries += 1) {
      const smaller = without(least, at, length);
      if (await fails(smaller)) least = smaller;
      else at += length;
    }
  }
  return least;
}

function without(bytes: Uint8Array, at: number, length: number): Uint8Array {
  return new Uint8Array(Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]));
}
