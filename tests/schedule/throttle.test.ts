import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { failed, limitOf, openThrottle, succeeded } from "../../src/schedule/throttle.ts";

const options = {
  limitStart: 5,
  limitMax: 20,
  cohort: 3,
  suspendFirstMs: 5000,
  suspendMaxMs: 600_000,
};

function times<T>(count: number, run: () => T): T[] {
  return Array.from({ length: count }, run);
}

/** As after `cohort` failures at instant 0. */
function suspended() {
  const throttle = openThrottle(options);
  times(options.cohort, () => failed(throttle, 0, "connection refused"));
  return throttle;
}

describe("open", () => {
  test("begins with the start limit, never above the maximum", () => {
    expect(limitOf(openThrottle(options), 0)).toBe(5);
    expect(limitOf(openThrottle({ ...options, limitMax: 2 }), 0)).toBe(2);
  });

  test("a limit's worth of successes raises it by one, up to the maximum", () => {
    const throttle = openThrottle(options);
    times(4, () => succeeded(throttle));
    expect(limitOf(throttle, 0)).toBe(5);
    succeeded(throttle);
    expect(limitOf(throttle, 0)).toBe(6);
    for (let limit = 6; limit < 20; limit += 1) {
      expect(limitOf(throttle, 0)).toBe(limit);
      times(limit, () => succeeded(throttle));
    }
    times(100, () => succeeded(throttle));
    expect(limitOf(throttle, 0)).toBe(20);
  });

  test("a failure lowers it by one and takes back the progress", () => {
    const throttle = openThrottle(options);
    times(4, () => succeeded(throttle));
    expect(failed(throttle, 0, "timeout")).toBeUndefined();
    expect(throttle).toMatchObject({ limit: 4, credit: 0, lastFailure: "timeout" });
    succeeded(throttle);
    expect(throttle).toMatchObject({ limit: 4, lastFailure: null });
  });

  test("failures that are not in a row do not suspend, and leave one delivery at least", () => {
    const throttle = openThrottle(options);
    times(20, () => {
      times(options.cohort - 1, () => failed(throttle, 0, "x"));
      succeeded(throttle);
    });
    expect(limitOf(throttle, 0)).toBeGreaterThanOrEqual(1);
    expect(throttle.suspendedUntil).toBeNull();
  });
});

describe("suspended", () => {
  test("begins with a cohort of failures, once", () => {
    const throttle = openThrottle(options);
    const transitions = times(5, () => failed(throttle, 1000, "connection refused"));
    expect(transitions).toEqual([undefined, undefined, "suspended", undefined, undefined]);
    expect(throttle).toMatchObject({ suspendedUntil: 6000, lastFailure: "connection refused" });
    expect(limitOf(throttle, 1000)).toBe(0);
    expect(limitOf(throttle, 5999)).toBe(0);
  });

  test("late failures do not prolong it", () => {
    const throttle = suspended();
    failed(throttle, 4999, "late");
    expect(throttle.suspendedUntil).toBe(5000);
  });

  test("ends with any success", () => {
    const throttle = suspended();
    expect(succeeded(throttle)).toBe("resumed");
    expect(throttle).toEqual(openThrottle(options));
    expect(succeeded(throttle)).toBeUndefined();
  });
});

describe("probing", () => {
  test("begins when the time has passed, with one delivery", () => {
    expect(limitOf(suspended(), 5000)).toBe(1);
    expect(limitOf(suspended(), 1e12)).toBe(1);
  });

  test("each failed probe doubles the wait, up to the maximum", () => {
    const throttle = suspended();
    const waits = times(9, () => {
      const now = throttle.suspendedUntil ?? Number.NaN;
      expect(failed(throttle, now, "still down")).toBe("suspended");
      expect(limitOf(throttle, now)).toBe(0);
      return (throttle.suspendedUntil ?? Number.NaN) - now;
    });
    expect(waits).toEqual([10, 20, 40, 80, 160, 320, 600, 600, 600].map((s) => s * 1000));
  });

  test("a success resumes from the start, waits included", () => {
    const throttle = suspended();
    failed(throttle, 5000, "still down");
    expect(succeeded(throttle)).toBe("resumed");
    expect(limitOf(throttle, 15_000)).toBe(options.limitStart);
    times(options.cohort, () => failed(throttle, 20_000, "down again"));
    expect(throttle.suspendedUntil).toBe(25_000);
  });
});

test("whatever happens, the limit keeps its bounds and transitions alternate with what is seen", () => {
  const step = fc.record({ ok: fc.boolean(), afterMs: fc.nat(700_000) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const throttle = openThrottle(options);
      let now = 0;
      for (const { ok, afterMs } of steps) {
        now += afterMs;
        const before = throttle.suspendedUntil;
        const transition = ok ? succeeded(throttle) : failed(throttle, now, "x");
        if (transition === "resumed") expect(before).not.toBeNull();
        expect(throttle.suspendedUntil === null).toBe(
          transition === "resumed" || (before === null && transition === undefined),
        );
        expect(limitOf(throttle, now)).toBeGreaterThanOrEqual(0);
        expect(limitOf(throttle, now)).toBeLessThanOrEqual(options.limitMax);
        expect((throttle.suspendedUntil ?? 0) - now).toBeLessThanOrEqual(options.suspendMaxMs);
        expect(limitOf(throttle, now + options.suspendMaxMs)).toBeGreaterThanOrEqual(1);
      }
    }),
  );
});
