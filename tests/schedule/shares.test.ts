import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { capOf, fairShares, TURN_MS } from "../../src/schedule/shares.ts";

const sum = (numbers: readonly number[]) => numbers.reduce((left, right) => left + right, 0);
const wanted = fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 8 });

describe("fair shares", () => {
  test("are even, and what the modest leave is for the others", () => {
    expect(fairShares(20, [20, 20], 0)).toEqual([10, 10]);
    expect(fairShares(20, [20, 3, 20], 0)).toEqual([8, 3, 9]);
    expect(fairShares(20, [5, 0, 4], 0)).toEqual([5, 0, 4]);
    expect(fairShares(20, [20, 20, 20], 0)).toEqual([6, 7, 7]);
  });

  test("are everything that is wanted or everything that there is, and differ by one at most", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), wanted, fc.nat(), (limit, wants, at) => {
        const shares = fairShares(limit, wants, at);
        expect(sum(shares)).toBe(Math.min(limit, sum(wants)));
        const most = Math.max(...shares);
        for (const [index, share] of shares.entries()) {
          expect(share).toBeLessThanOrEqual(wants[index] ?? 0);
          if (share < (wants[index] ?? 0)) expect(share).toBeGreaterThanOrEqual(most - 1);
        }
      }),
    );
  });

  test("go round where there are fewer places than nodes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), wanted, (limit, wants) => {
        const takers = wants.filter((want) => want > 0).length;
        fc.pre(takers > limit);
        const had = wants.map(() => 0);
        for (let turn = 0; turn < takers; turn += 1) {
          const shares = fairShares(limit, wants, turn * TURN_MS);
          for (const [index, share] of shares.entries()) had[index] = (had[index] ?? 0) + share;
        }
        for (const [index, want] of wants.entries()) expect(had[index]).toBe(want > 0 ? limit : 0);
      }),
    );
  });
});

test("a node is free to have all, until another has less than is fair", () => {
  const all = { held: 20, wants: 20 };
  expect(capOf(20, [all, { held: 0, wants: 0 }], 0, 0)).toBe(Number.POSITIVE_INFINITY);
  expect(capOf(20, [all, { held: 0, wants: 4 }], 0, 0)).toBe(16);
  expect(
    capOf(
      20,
      [
        { held: 16, wants: 20 },
        { held: 4, wants: 4 },
      ],
      0,
      0,
    ),
  ).toBe(Number.POSITIVE_INFINITY);
  expect(capOf(20, [all, { held: 0, wants: 20 }], 1, 0)).toBe(Number.POSITIVE_INFINITY);
  expect(capOf(20, [all, { held: 0, wants: 20 }, { held: 1, wants: 9 }], 2, 0)).toBe(6);
});
