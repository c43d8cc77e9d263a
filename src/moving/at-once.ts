/**
 * Does `work` for each of `items`, at most `limit` at a time, and takes no new one once `isOver` says so. Resolves when
 * nothing is under way any more; rejects then with what `items` was broken off by. `work` must not reject.
 */
export async function eachAtOnce<T>(
  items: AsyncIterable<T>,
  limit: number,
  work: (item: T) => Promise<void>,
  isOver: () => boolean,
): Promise<void> {
  const running = new Set<Promise<void>>();
  try {
    for await (const item of items) {
      if (isOver()) break;
      const one = work(item).finally(() => running.delete(one));
      running.add(one);
      if (running.size >= limit) await Promise.race(running);
      if (isOver()) break;
    }
  } finally {
    await Promise.all(running);
  }
}
