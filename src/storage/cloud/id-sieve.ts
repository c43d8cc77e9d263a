/** 4 MiB: of a million ids that were not noted 3 in 100 are taken for ones that were. */
const BITS = 2 ** 25;

/**
 * Remembers any number of ids in the same room. It never forgets one; some others it takes for noted ones, with another seed other
 * ones.
 */
export class IdSieve {
  readonly #octets = new Uint8Array(BITS / 8);
  readonly #seed: number;

  constructor(random: () => number) {
    this.#seed = Math.floor(random() * 2 ** 32);
  }

  note(id: string): void {
    const bit = this.#bitOf(id);
    this.#octets[bit >> 3] = (this.#octets[bit >> 3] ?? 0) | (1 << (bit & 7));
  }

  mayHave(id: string): boolean {
    const bit = this.#bitOf(id);
    return ((this.#octets[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }

  #bitOf(id: string): number {
    return Bun.hash.xxHash32(id, this.#seed) % BITS;
  }
}
