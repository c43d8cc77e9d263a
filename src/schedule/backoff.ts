/**
 * When to try again, the parent's backoff function. `attempts` counts the completed ones and is at least 1, `ageMs` is
 * the time since reception, `dice` is in [0, 1). Returns the delay until the next attempt in whole milliseconds, or
 * `null` to give up. Pure: the same arguments give the same delay.
 *
 * A lifetime ends with an attempt: where a delay would pass the end it is cut, so that a message is tried once more at
 * its end and only then given up.
 */
export type Backoff = (attempts: number, ageMs: number, dice: number) => number | null;

/** What all backoffs have in common. */
export interface Limits {
  /** The share by which a delay varies to either side, 0-1, so that what failed together does not return together. */
  readonly jitter: number;
  /** Since reception; attempts that end later are the last. */
  readonly lifetimeMs: number;
}

/** Of `stepsBackoff`. */
export interface StepsOptions extends Limits {
  /** The delay after the first attempt, the second...; the last one repeats. Not empty. */
  readonly stepsMs: readonly number[];
}

/** Of `exponentialBackoff`. */
export interface ExponentialOptions extends Limits {
  /** The delay after the first attempt, more than 0. */
  readonly firstMs: number;
  /** Each delay is the one before times this. */
  readonly factor: number;
  /** No delay is longer. */
  readonly maxMs: number;
  /** How many attempts may fail and be tried again; `Infinity` leaves it to the lifetime. */
  readonly retriesMax: number;
}

/** Of `constantBackoff`. */
export interface ConstantOptions extends Limits {
  /** Between two attempts. */
  readonly delayMs: number;
}

/** Gives up at the first failure: what the parent does unless told otherwise. */
export const noRetry: Backoff = () => null;

/** A list of delays, the last one over and over. */
export function stepsBackoff({ stepsMs, ...limits }: StepsOptions): Backoff {
  return (attempts, ageMs, dice) => {
    const step = Math.min(attempts, stepsMs.length) - 1;
    return limited(stepsMs[Math.max(0, step)] ?? 0, ageMs, dice, limits);
  };
}

/**
 * Delays that grow by a factor up to a maximum. The parent's example, `12.0 * (5.0 ** attempts)` seconds for 5 attempts,
 * is `{ firstMs: 60_000, factor: 5, retriesMax: 5 }`.
 */
export function exponentialBackoff({
  firstMs,
  factor,
  maxMs,
  retriesMax,
  ...limits
}: ExponentialOptions): Backoff {
  return (attempts, ageMs, dice) => {
    if (attempts > retriesMax) return null;
    const delayMs = Math.min(firstMs * factor ** Math.max(0, attempts - 1), maxMs);
    return limited(delayMs, ageMs, dice, limits);
  };
}

/** The same delay every time. */
export function constantBackoff({ delayMs, ...limits }: ConstantOptions): Backoff {
  return (_attempts, ageMs, dice) => limited(delayMs, ageMs, dice, limits);
}

function limited(
  delayMs: number,
  ageMs: number,
  dice: number,
  { jitter, lifetimeMs }: Limits,
): number | null {
  const leftMs = lifetimeMs - ageMs;
  if (leftMs <= 0) return null;
  const varied = Math.round(delayMs * (1 + jitter * (2 * dice - 1)));
  return Math.min(varied, Math.ceil(leftMs));
}
