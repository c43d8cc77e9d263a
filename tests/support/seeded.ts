/** Dice that fall the same way for the same seed: numbers in [0, 1). Tests print the seed, so that a failure can be repeated. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** The seed of this run: `SLIMTA_QUEUE_SEED`, or a new one. */
export function testSeed(): number {
  return Number(Bun.env.SLIMTA_QUEUE_SEED ?? Math.floor(Math.random() * 2 ** 32));
}
