import type { Clock } from "../lib/world.ts";

/** Attempts that start within this time of each other share one deadline. */
const BUCKET_MS = 60_000;

/**
 * Signals that end attempts: when their time is over, or when the queue stops. One timer serves all attempts of a
 * minute, since thousands start in a second and hardly any ever needs it.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #attemptMaxMs: number;
  readonly #open = new Set<AbortController>();
  #current: { readonly until: number; readonly controller: AbortController } | undefined;
  #stopped = false;

  constructor(clock: Clock, attemptMaxMs: number) {
    this.#clock = clock;
    this.#attemptMaxMs = attemptMaxMs;
  }

  /** Set once `stop` was called: what is broken off then was not the peer's fault. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** For an attempt that starts now: at least its full time, at most a minute more. */
  signal(): AbortSignal {
    const now = this.#clock.now();
    if (this.#current === undefined || now >= this.#current.until) {
      const controller = new AbortController();
      this.#current = { until: now + BUCKET_MS, controller };
      this.#open.add(controller);
      this.#clock.after(BUCKET_MS + this.#attemptMaxMs, () => {
        this.#open.delete(controller);
        controller.abort();
      });
      if (this.#stopped) controller.abort();
    }
    return this.#current.controller.signal;
  }

  /** Ends every attempt that runs or will start. */
  stop(): void {
    this.#stopped = true;
    for (const controller of this.#open) controller.abort();
  }
}
