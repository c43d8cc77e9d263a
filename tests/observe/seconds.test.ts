import { expect, test } from "bun:test";
import fc from "fast-check";
import { seconds } from "../../src/observe/seconds.ts";

test.each([
  [0, "0"],
  [-5, "0"],
  [Number.NaN, "0"],
  [4, "0"],
  [5, "0.01"],
  [50, "0.05"],
  [400, "0.4"],
  [456, "0.46"],
  [994, "0.99"],
  [995, "1"],
  [1000, "1"],
  [1234, "1.2"],
  [9949, "9.9"],
  [9950, "10"],
  [12_345, "12"],
  [3_456_789, "3457"],
])("%p ms is written as Postfix does: %p", (ms, text) => {
  expect(seconds(ms)).toBe(text);
});

test("two significant digits are never off by more than half of the last", () => {
  fc.assert(
    fc.property(fc.nat(100_000_000), (ms) => {
      const error = Math.abs(Number(seconds(ms)) * 1000 - ms);
      expect(error).toBeLessThanOrEqual(Math.max(5, Math.min(500, ms * 0.051)));
      expect(seconds(ms)).toMatch(/^\d+(\.\d{1,2})?$/u);
    }),
  );
});
