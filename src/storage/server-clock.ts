import type { Clock } from "../lib/world.ts";

/** How far apart the two may drift before the difference counts as another one. */
const TOLERANCE_MS = 5;
const MEASURE_EVERY_MS = 10_000;

/**
 * Instants in a store that nodes share are its server's, so that nodes whose clocks disagree agree on what is due and whose
 * lease is over: what goes there and comes from there is shifted by the difference between the server's clock and this
 * node's.
 */
export class ServerClock {
  readonly #clock: Clock;
  readonly #ask: () => Promise<number>;
  #differenceMs = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;

  /** `ask` tells the server's time. */
  constructor(clock: Clock, ask: () => Promise<number>) {
    this.#clock = clock;
    this.#ask = ask;
  }

  /** What the server says is this much later than what this node says. */
  get differenceMs(): number {
    return this.#differenceMs;
  }

  now(): number {
    return this.toServer(this.#clock.now());
  }

  toServer(instant: number): number {
    return instant + this.#differenceMs;
  }

  fromServer(instant: number): number {
    return instant - this.#differenceMs;
  }

  /** Whether it is time to measure again: after a while, or when this node's clock was set back. */
  get isStale(): boolean {
    const age = this.#clock.now() - this.#measuredAt;
    return age < 0 || age > MEASURE_EVERY_MS;
  }

  async measure(): Promise<void> {
    const before = this.#clock.now();
    this.#measuredAt = before;
    const server = await this.#ask();
    const after = this.#clock.now();
    const difference = Math.round(server - (before + after) / 2);
    // An answer that took long says little.
    const doubt = Math.max(TOLERANCE_MS, after - before);
    if (Math.abs(difference - this.#differenceMs) > doubt) this.#differenceMs = difference;
  }
}
