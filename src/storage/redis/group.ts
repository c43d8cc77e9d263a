/** Does things together that come together; resolves or rejects each with what came of it. */
export type Group<T, R> = (item: T) => Promise<R>;

export interface GroupOptions<T, R> {
  readonly itemsMax: number;
  /** What they may weigh together; one that weighs more goes alone. */
  readonly weightMax: number;
  readonly weigh: (item: T) => number;
  /** Gives what came of each, in the same order. */
  readonly run: (items: readonly T[]) => Promise<readonly R[]>;
}

/** Group commit: what comes while a step is under way shares the next one. Where none is, a step starts at once. */
export function openGroup<T, R>({
  itemsMax,
  weightMax,
  weigh,
  run,
}: GroupOptions<T, R>): Group<T, R> {
  const waiting: { readonly item: T; readonly end: PromiseWithResolvers<R> }[] = [];
  let isRunning = false;

  function next(): typeof waiting {
    let weight = 0;
    let count = 0;
    for (const { item } of waiting) {
      weight += weigh(item);
      if (count > 0 && (weight > weightMax || count === itemsMax)) break;
      count += 1;
    }
    return waiting.splice(0, count);
  }

  async function runAll(): Promise<void> {
    isRunning = true;
    // Whatever else comes in this turn of the event loop goes along.
    await Promise.resolve();
    while (waiting.length > 0) await step(next());
    isRunning = false;
  }

  async function step(members: typeof waiting): Promise<void> {
    try {
      const results = await run(members.map(({ item }) => item));
      for (const [index, { end }] of members.entries()) end.resolve(results[index] as R);
    } catch (error) {
      for (const { end } of members) end.reject(error);
    }
  }

  return (item) => {
    const end = Promise.withResolvers<R>();
    waiting.push({ item, end });
    if (!isRunning) void runAll();
    return end.promise;
  };
}
