/**
 * How many deliveries at once one destination is trusted with, by feedback. Arithmetic on one small record; whoever
 * runs deliveries keeps it, asks `limitOf` before each and reports how each one ended.
 *
 * - open: entered at the start and on resuming, with `limitStart`. Each success adds 1/limit, so that a limit's worth
 *   of them raises it by one, up to `limitMax`; each failure lowers it by one, down to one, and takes back what was
 *   added since the last step (hysteresis: one bad delivery among good ones does not swing it to and fro). `cohort`
 *   failures without a success between them: suspended.
 * - suspended: nothing is tried until `suspendedUntil`, after `suspendFirstMs` the first time and twice as long each
 *   next time, at most `suspendMaxMs`. Failures of deliveries that were under way change nothing. When the time has
 *   passed: probing.
 * - probing: one delivery at a time. A failure: suspended again, for longer.
 *
 * Any success, also of a delivery that was under way, ends suspended and probing: open.
 *
 * Only failures of the destination as a whole count: it was not reached, did not greet, broke the connection. What it
 * said about one message or one recipient is a sign of life and counts as success.
 */
export interface Throttle {
  readonly options: ThrottleOptions;
  /** Deliveries at once while open. */
  limit: number;
  /** Towards the next step up, 0-1. */
  credit: number;
  /** Failures since the last success. */
  failures: number;
  /** Not tried before this instant; `null` while open. Stays set while probing. */
  suspendedUntil: number | null;
  /** How long the latest suspension was. */
  suspendMs: number;
  /** Why the latest failure failed; `null` after a success. */
  lastFailure: string | null;
}

/** How far a destination is trusted; see `Throttle`. */
export interface ThrottleOptions {
  /** Deliveries at once to one of which nothing is known yet. */
  readonly limitStart: number;
  /** Deliveries at once to one that always answers. */
  readonly limitMax: number;
  /** Failures in a row that suspend. */
  readonly cohort: number;
  /** How long it is left alone the first time. */
  readonly suspendFirstMs: number;
  /** And at most, when it doubles with each probe that fails. */
  readonly suspendMaxMs: number;
}

/** What has changed for whoever watches a destination. */
export type Transition = "suspended" | "resumed";

const SUSPEND_FACTOR = 2;

/** A destination that nothing is known of yet. */
export function openThrottle(options: ThrottleOptions): Throttle {
  return {
    options,
    limit: Math.min(options.limitStart, options.limitMax),
    credit: 0,
    failures: 0,
    suspendedUntil: null,
    suspendMs: 0,
    lastFailure: null,
  };
}

/** How many deliveries may be under way at once: 0 while suspended, 1 while probing. */
export function limitOf(throttle: Throttle, now: number): number {
  if (throttle.suspendedUntil === null) return throttle.limit;
  return now < throttle.suspendedUntil ? 0 : 1;
}

/** The destination answered, whatever it said. Returns `resumed` when it was suspended or probing. */
export function succeeded(throttle: Throttle): Transition | undefined {
  throttle.failures = 0;
  throttle.lastFailure = null;
  if (throttle.suspendedUntil !== null) {
    Object.assign(throttle, openThrottle(throttle.options));
    return "resumed";
  }
  throttle.credit += 1 / throttle.limit;
  // A limit's worth of additions may fall short of 1 by what rounding lost.
  if (throttle.credit > 1 - Number.EPSILON * throttle.options.limitMax) {
    throttle.credit = 0;
    throttle.limit = Math.min(throttle.limit + 1, throttle.options.limitMax);
  }
  return undefined;
}

/** The destination as a whole failed. Returns `suspended` when that begins, or begins again after a failed probe. */
export function failed(throttle: Throttle, now: number, reason: string): Transition | undefined {
  throttle.lastFailure = reason;
  if (throttle.suspendedUntil !== null && now < throttle.suspendedUntil) return undefined;
  throttle.failures += 1;
  throttle.credit = 0;
  throttle.limit = Math.max(1, throttle.limit - 1);
  const isProbe = throttle.suspendedUntil !== null;
  if (!isProbe && throttle.failures < throttle.options.cohort) return undefined;
  const { suspendFirstMs, suspendMaxMs } = throttle.options;
  const nextMs = isProbe ? throttle.suspendMs * SUSPEND_FACTOR : suspendFirstMs;
  throttle.suspendMs = Math.min(nextMs, suspendMaxMs);
  throttle.suspendedUntil = now + throttle.suspendMs;
  return "suspended";
}
