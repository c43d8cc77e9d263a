/**
 * Resolves once a turn of the event loop has brought no more, or there are `enough`: `count` is of what has come so far. What is
 * going to be done for several together waits for those who are about to come as well, which takes no time: with nobody
 * else about that is the rest of one turn.
 */
export async function gathered(count: () => number, enough: number): Promise<void> {
  let before: number;
  do {
    before = count();
    await new Promise((resolve) => setImmediate(resolve));
  } while (count() > before && count() < enough);
}
