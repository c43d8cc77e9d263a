import type { Clock } from "../../lib/world.ts";
import type { Leasing } from "./leasing.ts";
import type { Lookout } from "./lookout.ts";
import type { StoreTime } from "./store-time.ts";
import type { News, WakeUp } from "./wake-up.ts";

/**
 * How often one who waits looks, unless told otherwise: 86,400 lists and as many small reads a day while mail flows, a
 * fifth of that when none has come for a while. That is 0.47 dollars a day at most where 1000 lists cost half a cent.
 */
export const POLL_MS = 1000;
/** How much slower looks get while nothing is found, and how much slower where a queue of messages wakes one up. */
const IDLE_FACTOR = 5;
const WOKEN_FACTOR = 10;
const SLOWER = 1.3;

export interface NewsParts {
  readonly clock: Clock;
  readonly time: StoreTime;
  readonly lookout: Lookout;
  readonly leasing: Leasing;
  readonly wakeUp: WakeUp | undefined;
  readonly pollMs: number;
}

/** Waits for mail of other nodes: looks now and then, and at once when told. */
export class NewsWatch {
  readonly #parts: NewsParts;
  readonly #closed = new AbortController();
  #pauseMs: number;

  constructor(parts: NewsParts) {
    this.#parts = parts;
    this.#pauseMs = parts.pollMs;
  }

  /** Resolves with news, with nothing when it is time to look all the same, and with `null` when nobody is to call again. */
  async wait(signal: AbortSignal): Promise<readonly News[] | null> {
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    while (!ended.aborted) {
      const told = await this.#told(ended);
      if (ended.aborted) return null;
      if (told.length > 0) return this.#here(told);
      if ((await this.#look()) > 0) return [];
    }
    return null;
  }

  close(): void {
    this.#closed.abort();
  }

  /** What is heard until it is time to look. */
  async #told(ended: AbortSignal): Promise<readonly News[]> {
    const { clock, wakeUp } = this.#parts;
    const over = new AbortController();
    const { promise, resolve } = Promise.withResolvers<readonly News[]>();
    const end = (): void => resolve([]);
    ended.addEventListener("abort", end);
    const cancel = clock.after(this.#pauseMs, end);
    // Whoever tells has troubles of its own; here it is only listened to.
    const signal = AbortSignal.any([ended, over.signal]);
    void wakeUp?.listen(signal).then(resolve, () => undefined);
    try {
      return await promise;
    } finally {
      over.abort();
      cancel();
      ended.removeEventListener("abort", end);
    }
  }

  /** Never rejects: who leases hears of the store's trouble. */
  async #look(): Promise<number> {
    const { lookout, leasing, pollMs, wakeUp } = this.#parts;
    const slowest = pollMs * (wakeUp === undefined ? IDLE_FACTOR : WOKEN_FACTOR);
    try {
      const found = (await lookout.look()) + lookout.takeUntold();
      await leasing.doChores();
      this.#pauseMs = found > 0 ? pollMs : Math.min(this.#pauseMs * SLOWER, slowest);
      if (lookout.isBehind) this.#pauseMs = 0;
      return found;
    } catch {
      this.#pauseMs = Math.min(Math.max(pollMs, this.#pauseMs * SLOWER), slowest);
      return 0;
    }
  }

  #here(told: readonly News[]): readonly News[] {
    const { lookout, time, pollMs } = this.#parts;
    lookout.noteNews();
    this.#pauseMs = pollMs;
    return told.map(({ id, timestamp }) => ({ id, timestamp: time.fromStore(timestamp) }));
  }
}
