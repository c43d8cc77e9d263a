import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Backoff,
  constantBackoff,
  exponentialBackoff,
  noRetry,
  stepsBackoff,
} from "../../src/schedule/backoff.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const LIFETIME_MS = 5 * DAY_MS;
const MIDDLE = 0.5;

const stepsMs = [MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, 4 * HOUR_MS];
const limits = { jitter: 0.1, lifetimeMs: LIFETIME_MS };
const stock: Record<string, Backoff> = {
  steps: stepsBackoff({ stepsMs, ...limits }),
  exponential: exponentialBackoff({
    firstMs: MINUTE_MS,
    factor: 5,
    maxMs: DAY_MS,
    retriesMax: Number.POSITIVE_INFINITY,
    ...limits,
  }),
  constant: constantBackoff({ delayMs: HOUR_MS, ...limits }),
};

const attempts = fc.integer({ min: 1, max: 10_000 });
const dice = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe.each(Object.entries(stock))("%s backoff", (_, backoff) => {
  test("waits a whole number of milliseconds and never past the lifetime", () => {
    fc.assert(
      fc.property(attempts, fc.nat(LIFETIME_MS - 1), dice, (count, ageMs, roll) => {
        const delayMs = backoff(count, ageMs, roll) ?? Number.NaN;
        expect(Number.isInteger(delayMs)).toBe(true);
        expect(delayMs).toBeGreaterThanOrEqual(1);
        expect(ageMs + delayMs).toBeLessThanOrEqual(LIFETIME_MS);
      }),
    );
  });

  test("gives up at the end of the lifetime, not before", () => {
    expect(backoff(3, LIFETIME_MS - 1, MIDDLE)).toBe(1);
    expect(backoff(3, LIFETIME_MS, MIDDLE)).toBeNull();
    expect(backoff(3, LIFETIME_MS + 1, MIDDLE)).toBeNull();
  });

  test("varies by the jitter to either side and no more", () => {
    fc.assert(
      fc.property(attempts, dice, (count, roll) => {
        const middle = backoff(count, 0, MIDDLE) ?? Number.NaN;
        const delayMs = backoff(count, 0, roll) ?? Number.NaN;
        expect(Math.abs(delayMs - middle)).toBeLessThanOrEqual(middle * limits.jitter + 1);
      }),
    );
    expect(backoff(1, 0, 0)).toBeLessThan(backoff(1, 0, MIDDLE) ?? 0);
    expect(backoff(1, 0, 0.999)).toBeGreaterThan(backoff(1, 0, MIDDLE) ?? 0);
  });

  test("does not get shorter with more attempts", () => {
    fc.assert(
      fc.property(attempts, (count) => {
        const delayMs = backoff(count, 0, MIDDLE) ?? Number.NaN;
        expect(backoff(count + 1, 0, MIDDLE)).toBeGreaterThanOrEqual(delayMs);
      }),
    );
  });

  test("every message comes to its end in a bounded number of attempts, the last one at the end", () => {
    fc.assert(
      fc.property(dice, (roll) => {
        let [ageMs, count] = [0, 0];
        for (;;) {
          count += 1;
          const delayMs = backoff(count, ageMs, roll);
          if (delayMs === null) break;
          ageMs += delayMs;
        }
        expect(ageMs).toBe(LIFETIME_MS);
        expect(count).toBeLessThan(200);
      }),
    );
  });
});

test("steps follow the list and repeat its last entry", () => {
  const delays = [1, 2, 3, 4, 5, 1000].map((count) => stock.steps?.(count, 0, MIDDLE));
  expect(delays).toEqual([...stepsMs, 4 * HOUR_MS, 4 * HOUR_MS]);
});

test("the parent's example: 12 * 5 ** attempts seconds, five times", () => {
  const backoff = exponentialBackoff({
    firstMs: 60_000,
    factor: 5,
    maxMs: Number.POSITIVE_INFINITY,
    retriesMax: 5,
    jitter: 0,
    lifetimeMs: Number.POSITIVE_INFINITY,
  });
  const delays = [1, 2, 3, 4, 5, 6].map((count) => backoff(count, 0, MIDDLE));
  expect(delays).toEqual([60_000, 300_000, 1_500_000, 7_500_000, 37_500_000, null]);
});

test("growth stops at the maximum", () => {
  expect(stock.exponential?.(9999, 0, MIDDLE)).toBe(DAY_MS);
});

test("no retry is what it says", () => {
  expect(noRetry(1, 0, MIDDLE)).toBeNull();
});
