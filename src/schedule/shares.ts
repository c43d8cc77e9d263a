/** For so long those have their turn who get a place when there are fewer of them than nodes. */
export const TURN_MS = 2000;

/** What a node has of something that all share, and what it could use. */
export interface Share {
  readonly held: number;
  readonly wants: number;
}

/**
 * Who gets how many of `limit` places: nobody more than he wants, and beyond that all the same, give or take one. Where there
 * is less than one for each they take turns, as `at` tells.
 */
export function fairShares(limit: number, wants: readonly number[], at: number): readonly number[] {
  const takers = wants.flatMap((want, index) => (want > 0 ? [index] : []));
  const shares = wants.map(() => 0);
  if (takers.length > limit) {
    const turn = Math.floor(at / TURN_MS) * limit;
    for (let count = 0; count < limit; count += 1) {
      shares[takers[(turn + count) % takers.length] ?? 0] = 1;
    }
    return shares;
  }
  // The modest ones first: what they leave is for the others.
  const byWant = takers.toSorted((one, other) => (wants[one] ?? 0) - (wants[other] ?? 0));
  let left = limit;
  for (const [count, index] of byWant.entries()) {
    const even = Math.floor(left / (byWant.length - count));
    const share = Math.min(wants[index] ?? 0, even);
    shares[index] = share;
    left -= share;
  }
  return shares;
}

/**
 * How many places one of them may have: as many as it likes while no other has less than is fair, else what is fair. `at`
 * is the same instant for all.
 */
export function capOf(limit: number, nodes: readonly Share[], self: number, at: number): number {
  const wants = nodes.map((node) => node.wants);
  const fair = fairShares(limit, wants, at);
  const isShort = nodes.some(({ held }, index) => index !== self && held < (fair[index] ?? 0));
  return isShort ? (fair[self] ?? 0) : Number.POSITIVE_INFINITY;
}
