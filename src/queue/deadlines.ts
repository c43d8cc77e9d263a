import type { Clock } from "../lib/world.ts";

/** Attempts that start within this time of each other share one deadline. */
export const DEADLINE_GRAIN_MS = 60_000;

const BROKEN_OFF = new Error("broken off");

interface Bucket {
  /** Attempts that start before this are in it. */
  readonly until: number;
  readonly controller: AbortController;
}

/**
 * Signals that end attempts: when their time is over, or when the queue stops. Thousands of attempts start in a second
 * and hardly any ever needs its signal, so that all of a minute share one, and whoever keeps time asks for `sweep`.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #attemptMaxMs: number;
  /** Oldest first; at most one for each minute of `attemptMaxMs`, and one. */
  readonly #buckets: Bucket[] = [];
  #stopped = false;

  constructor(clock: Clock, attemptMaxMs: number) {
    this.#clock = clock;
    this.#attemptMaxMs = attemptMaxMs;
  }

  /** Whether this attempt was broken off, by `stop` or `breakOff`: that was not the peer's fault. */
  isBrokenOff(signal: AbortSignal): boolean {
    return this.#stopped || signal.reason === BROKEN_OFF;
  }

  /** For an attempt that starts now. */
  signal(): AbortSignal {
    const now = this.#clock.now();
    const latest = this.#buckets.at(-1);
    if (latest !== undefined && now < latest.until) return latest.controller.signal;
    const controller = new AbortController();
    if (this.#stopped) controller.abort(BROKEN_OFF);
    this.#buckets.push({ until: now + DEADLINE_GRAIN_MS, controller });
    return controller.signal;
  }

  /** Ends attempts that had at least their full time: all that had it a minute ago. */
  sweep(): void {
    const now = this.#clock.now();
    for (let [first] = this.#buckets; first !== undefined; [first] = this.#buckets) {
      if (now < first.until + this.#attemptMaxMs) return;
      this.#buckets.shift();
      first.controller.abort();
    }
  }

  /** Ends every attempt that runs; those that start from now on have all their time. */
  breakOff(): void {
    for (const { controller } of this.#buckets.splice(0)) controller.abort(BROKEN_OFF);
  }

  /** Ends every attempt that runs or will start. */
  stop(): void {
    this.#stopped = true;
    this.breakOff();
  }
}
