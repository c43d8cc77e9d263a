import type { World } from "../../src/lib/world.ts";

/** 2030-01-01: any instant will do, as long as it is always the same. */
export const SIM_START = Date.UTC(2030, 0, 1);

/** A world whose time stands still until it is moved, with dice that fall the same way each time. */
export interface SimWorld extends World {
  /** Lets everything happen that needs no time: all promises that can settle have settled then. */
  settle(): Promise<void>;
  /** Moves time; timers run in their order, each with all that follows from it before the next. */
  advance(ms: number): Promise<void>;
  /** Moves time to the next timer; false when there is none. */
  toNextTimer(): Promise<boolean>;
  /** When each armed timer goes off, in order. */
  timers(): readonly number[];
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Opens a world at `startMs`, whose dice follow from `seed`. */
export function simWorld(seed = 1, startMs = SIM_START): SimWorld {
  let nowMs = startMs;
  let made = 0;
  const timers = new Set<Timer>();
  const inOrder = () =>
    [...timers].sort((one, other) => one.at - other.at || one.order - other.order);

  function first(): Timer | undefined {
    let found: Timer | undefined;
    // Timers are in the order in which they were made.
    for (const timer of timers) if (found === undefined || timer.at < found.at) found = timer;
    return found;
  }

  async function settle(): Promise<void> {
    // A turn of the event loop begins when no promise is left to settle.
    for (let turns = 0; turns < 2; turns += 1) await new Promise((next) => setImmediate(next));
  }

  async function runUntil(endMs: number): Promise<void> {
    await settle();
    for (;;) {
      const next = first();
      if (next === undefined || next.at > endMs) break;
      timers.delete(next);
      nowMs = Math.max(nowMs, next.at);
      next.run();
      await settle();
    }
    nowMs = Math.max(nowMs, endMs);
  }

  return {
    clock: {
      now: () => nowMs,
      after(delayMs, run) {
        made += 1;
        const timer = { at: nowMs + Math.max(0, delayMs), order: made, run };
        timers.add(timer);
        return () => void timers.delete(timer);
      },
    },
    random: dice(seed),
    settle,
    advance: (ms) => runUntil(nowMs + ms),
    async toNextTimer() {
      await settle();
      const next = first();
      if (next !== undefined) await runUntil(next.at);
      return next !== undefined;
    },
    timers: () => inOrder().map(({ at }) => at),
  };
}

/** Marsaglia's xorshift, 32 bits: numbers in [0, 1). */
export function dice(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
