import { describe, expect, test } from "bun:test";
import {
  GROWTH_MB_PER_HOUR_MAX,
  judgeGrowth,
  type Point,
  slopePerHour,
} from "../../scripts/endurance/growth.ts";
import { LARGEST_BYTES, mixedLoad, RECIPIENTS_MAX } from "../../scripts/endurance/mix.ts";
import { svgOf } from "../../scripts/endurance/plot.ts";
import { seededRandom } from "../support/seeded.ts";

/** A sample each five seconds. */
function memory(minutes: number, at: (minute: number) => number): readonly Point[] {
  return Array.from({ length: minutes * 12 + 1 }, (_, index) => ({
    seconds: index * 5,
    value: at(index / 12),
  }));
}

describe("whether memory grows", () => {
  test("a slope is found beneath noise and outliers", () => {
    const random = seededRandom(1);
    const points = memory(60, (minute) => 100 + minute / 2 + random() * 40);
    points.forEach((point, index) => {
      if (index % 50 === 0) Object.assign(point, { value: 900 });
    });
    const { perHour, isFlat } = judgeGrowth(points, 900);
    expect(perHour).toBeGreaterThan(20);
    expect(perHour).toBeLessThan(40);
    expect(isFlat).toBe(false);
  });

  test("what rises and falls back is no growth, nor is what happens in the warm-up", () => {
    const random = seededRandom(2);
    const points = memory(60, (minute) => Math.min(200, 50 + minute * 10) + random() * 60);
    const { perHour, isFlat, minutes } = judgeGrowth(points, 15 * 60);
    expect(Math.abs(perHour)).toBeLessThan(GROWTH_MB_PER_HOUR_MAX / 2);
    expect(isFlat).toBe(true);
    expect(minutes).toBe(45);
  });

  test("too little to tell", () => {
    const points = memory(20, () => 100);
    expect(judgeGrowth(points, 15 * 60).isFlat).toBeUndefined();
    expect(judgeGrowth([], 0).isFlat).toBeUndefined();
  });

  test("the slope is that of most pairs", () => {
    const points = [0, 1, 2, 3, 100].map((value, hour) => ({ seconds: hour * 3600, value }));
    expect(slopePerHour(points)).toBe(1);
  });
});

test("the mixed load is the same for the same dice, and stays within its bounds", () => {
  const draw = (seed: number) => Array.from({ length: 3000 }, mixedLoad(seededRandom(seed)));
  const plans = draw(5);
  expect(plans).toEqual(draw(5));
  expect(plans).not.toEqual(draw(6));
  const counts = plans.map(({ recipients }) => recipients.length);
  const sizes = plans.map(({ bytes }) => bytes);
  expect([Math.min(...counts), Math.max(...counts)]).toEqual([1, RECIPIENTS_MAX]);
  expect(Math.min(...sizes)).toBeGreaterThanOrEqual(1024);
  expect(Math.max(...sizes)).toBeGreaterThan(2 ** 20);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(LARGEST_BYTES);
  expect(new Set(plans.map(({ keep }) => keep)).size).toBe(2);
});

test("a plot shows values where they belong, and nothing for what is not there", () => {
  const points = [0, 60, 120].map((seconds, index) => ({
    seconds,
    value: [0, 100, Number.NaN][index] ?? 0,
  }));
  const svg = svgOf({
    title: "a < b",
    unit: "MB",
    seconds: 120,
    bands: [{ name: "warm-up", from: 0, to: 60 }],
    series: [{ name: "resident", points }],
  });
  expect(svg).toContain("a &#60; b");
  // From the lower left corner to the top in the middle.
  expect(svg).toContain('points="70.0,274.0 505.0,62.0"');
  expect(svg).not.toContain("NaN");
});
