import { median } from "../benchmark/statistics.ts";

/** A value at an instant. */
export interface Point {
  readonly seconds: number;
  readonly value: number;
}

/** Memory may grow by no more than this in an hour after the warm-up: noise of the allocator, not a leak. */
export const GROWTH_MB_PER_HOUR_MAX = 12;
/** With less than this after the warm-up nothing can be said about an hour. */
export const JUDGED_MINUTES_MIN = 10;

/** The lowest value of each minute that is over: what the process holds on to, without what it takes for a moment. */
export function minutely(points: readonly Point[]): readonly Point[] {
  const lowest = new Map<number, Point>();
  for (const point of points) {
    const minute = Math.floor(point.seconds / 60);
    const known = lowest.get(minute);
    if (known === undefined || point.value < known.value) lowest.set(minute, point);
  }
  const last = Math.floor((points.at(-1)?.seconds ?? 0) / 60);
  return [...lowest].filter(([minute]) => minute < last).map(([, point]) => point);
}

/** The slope in an hour by Theil and Sen: the median over all pairs, which a few outliers do not move. */
export function slopePerHour(points: readonly Point[]): number {
  const slopes = points.flatMap((one, index) =>
    points
      .slice(index + 1)
      .filter((other) => other.seconds > one.seconds)
      .map((other) => (other.value - one.value) / (other.seconds - one.seconds)),
  );
  return slopes.length === 0 ? Number.NaN : median(slopes) * 3600;
}

/** The line that goes with a slope: the value at the instant 0. */
export function interceptOf(points: readonly Point[], perHour: number): number {
  return median(points.map(({ seconds, value }) => value - (perHour / 3600) * seconds));
}

export interface Verdict {
  readonly perHour: number;
  readonly minutes: number;
  /** Undefined when it was too short to tell. */
  readonly isFlat: boolean | undefined;
}

/** Whether memory kept growing after the warm-up. */
export function judgeGrowth(points: readonly Point[], warmUpSeconds: number): Verdict {
  const judged = minutely(points).filter(({ seconds }) => seconds >= warmUpSeconds);
  const perHour = slopePerHour(judged);
  const isLong = judged.length >= JUDGED_MINUTES_MIN;
  return {
    perHour,
    minutes: judged.length,
    isFlat: isLong ? perHour <= GROWTH_MB_PER_HOUR_MAX : undefined,
  };
}
