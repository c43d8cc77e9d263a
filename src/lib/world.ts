/**
 * What the queue takes from outside: time and dice. Everything that waits, measures or rolls takes one of these as a
 * parameter, so that the whole queue also runs under a simulated world.
 */
export interface World {
  /** What time it is, and timers. */
  readonly clock: Clock;
  /** A number in [0, 1). */
  readonly random: () => number;
}

/** Time: what it is, and being called later. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Calls `run` once after `delayMs`; the returned function cancels it and may be called at any time. */
  after(delayMs: number, run: () => void): () => void;
}

/** The longest delay that a timer of the platform keeps; a longer one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The real world. Its timers do not keep the process alive: sockets and servers do. */
export const realWorld: World = {
  clock: {
    now: () => Date.now(),
    after(delayMs, run) {
      const timer = setTimeout(run, Math.min(Math.max(0, delayMs), TIMER_MS_MAX));
      timer.unref();
      return () => clearTimeout(timer);
    },
  },
  random: () => Math.random(),
};

/** Keeps the process alive until the returned function is called, which may be done at any time. */
export function keepAlive(): () => void {
  const timer = setInterval(() => undefined, TIMER_MS_MAX);
  return () => clearInterval(timer);
}
