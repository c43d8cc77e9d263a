import { median } from "../benchmark/statistics.ts";

/** A value at an instant. */
export interface Point {
  readonly seconds: number;
  readonly value: number;
}

/** Memory may grow by no more than this in an hour after the warm-up: the slope of one without growth is within it. */
export const GROWTH_MB_PER_HOUR_MAX = 15;
/** Garbage is collected about once a minute; what is left then is what counts. */
export const WINDOW_MINUTES = 3;
/** With less than this after the warm-up nothing can be said about an hour. */
export const JUDGED_MINUTES_MIN = 30;

/** The lowest value of each window that is over: what the process holds on to, without what it takes for a while. */
export function lowest(points: readonly Point[]): readonly Point[] {
  const windowOf = ({ seconds }: Point) => Math.floor(seconds / 60 / WINDOW_MINUTES);
  const least = new Map<number, Point>();
  for (const point of points) {
    const known = least.get(windowOf(point));
    if (known === undefined || point.value < known.value) least.set(windowOf(point), point);
  }
  const last = windowOf(points.at(-1) ?? { seconds: 0, value: 0 });
  return [...least].filter(([window]) => window < last).map(([, point]) => point);
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
  const judged = lowest(points).filter(({ seconds }) => seconds >= warmUpSeconds);
  const perHour = slopePerHour(judged);
  const minutes = judged.length * WINDOW_MINUTES;
  const isLong = minutes >= JUDGED_MINUTES_MIN;
  return {
    perHour,
    minutes,
    isFlat: isLong ? perHour <= GROWTH_MB_PER_HOUR_MAX : undefined,
  };
}
