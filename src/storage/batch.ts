import { gathered } from "../lib/turn.ts";

/** One of several things that are done in one step. */
export interface Batch<I, R> {
  /** Resolves or rejects with what came of this one. */
  add(item: I): Promise<R>;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

export interface BatchOptions<I, R> {
  /** Steps under way at once. */
  readonly lanes: number;
  /** Things that one step takes. */
  readonly itemsMax: number;
  /** What they may weigh together; one that weighs more goes alone. */
  readonly weightMax: number;
  readonly weigh: (item: I) => number;
  /** Does them all in one step; gives what came of each, in the same order. */
  readonly run: (items: readonly I[]) => Promise<readonly (R | Error)[]>;
  /** Whether to do each alone when doing them together failed like this: one of them is to blame. */
  readonly isOneToBlame?: (error: unknown) => boolean;
}

interface Waiting<I, R> {
  readonly item: I;
  readonly promise: PromiseWithResolvers<R>;
}

/**
 * Group commit: what comes while no lane is free shares the next step. Nothing waits on a timer: where a lane is free a step
 * starts with whatever else comes in the same turn of the event loop, and in the next as long as each brings more.
 */
export function openBatch<I, R>(options: BatchOptions<I, R>): Batch<I, R> {
  const waiting: Waiting<I, R>[] = [];
  const running = new Set<Promise<void>>();
  let starting: Promise<void> | undefined;

  function startSoon(): void {
    if (waiting.length === 0 || running.size >= options.lanes) return;
    starting ??= gathered(() => waiting.length, options.itemsMax).then(start);
  }

  function start(): void {
    starting = undefined;
    while (waiting.length > 0 && running.size < options.lanes) {
      const step = runStep(options, take()).finally(() => {
        running.delete(step);
        startSoon();
      });
      running.add(step);
    }
  }

  function take(): readonly Waiting<I, R>[] {
    let count = 0;
    let weight = 0;
    for (const { item } of waiting) {
      weight += options.weigh(item);
      if (count > 0 && (weight > options.weightMax || count === options.itemsMax)) break;
      count += 1;
    }
    return waiting.splice(0, count);
  }

  return {
    add(item) {
      const promise = Promise.withResolvers<R>();
      waiting.push({ item, promise });
      startSoon();
      return promise.promise;
    },
    async idle() {
      do await Promise.all([starting, ...running]);
      while (starting !== undefined || running.size > 0);
    },
  };
}

/** Never rejects. */
async function runStep<I, R>(
  options: BatchOptions<I, R>,
  taken: readonly Waiting<I, R>[],
): Promise<void> {
  try {
    const results = await options.run(taken.map(({ item }) => item));
    for (const [index, { promise }] of taken.entries()) tell(promise, results[index] as R | Error);
  } catch (error) {
    const isOneOfMany = taken.length > 1 && options.isOneToBlame?.(error);
    for (const one of taken) {
      if (isOneOfMany) await runStep(options, [one]);
      else one.promise.reject(error);
    }
  }
}

function tell<R>(promise: PromiseWithResolvers<R>, result: R | Error): void {
  if (result instanceof Error) promise.reject(result);
  else promise.resolve(result);
}
