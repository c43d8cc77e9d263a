/** One transaction of the mixed load. */
export interface Plan {
  readonly bytes: number;
  readonly recipients: readonly string[];
  /** Whether the next transaction of this session goes over the same connection. */
  readonly keep: boolean;
}

export const SMALLEST_BYTES = 1024;
export const USUAL_BYTES_MAX = 64 * 1024;
export const LARGEST_BYTES = 4 * 2 ** 20;
export const RECIPIENTS_MAX = 50;

const LARGE_SHARE = 0.01;
const KEEP_SHARE = 0.7;
/** How many recipients a message has, each with its share of the mail. */
const RECIPIENTS: readonly (readonly [number, number, number])[] = [
  [0.8, 1, 1],
  [0.15, 2, 10],
  [0.05, 11, RECIPIENTS_MAX],
];

/** Where mail goes: a host of the endurance world, how many domains lead to it, and its share of the recipients. */
interface Place {
  readonly host: string;
  /** Infinity: a domain that was never heard of before, each time. */
  readonly domains: number;
  readonly share: number;
}

const PLACES: readonly Place[] = [
  { host: "take", domains: 200, share: 0.45 },
  { host: "take", domains: Number.POSITIVE_INFINITY, share: 0.2 },
  { host: "slow", domains: 20, share: 0.1 },
  { host: "moody", domains: 50, share: 0.12 },
  { host: "flaky", domains: 10, share: 0.05 },
  { host: "reject", domains: 5, share: 0.04 },
  { host: "nowhere", domains: 20, share: 0.02 },
  { host: "hang", domains: 3, share: 0.008 },
  { host: "silent", domains: 3, share: 0.004 },
  { host: "drip", domains: 1, share: 0.004 },
  { host: "down", domains: 3, share: 0.004 },
];

/** Draws transactions, each time another one; the same dice give the same ones. */
export function mixedLoad(random: () => number): () => Plan {
  let drawn = 0;
  const between = (low: number, high: number) => low + Math.floor(random() * (high - low + 1));
  const recipient = (): string => {
    drawn += 1;
    const { host, domains } = pick(PLACES, ({ share }) => share, random());
    const number = Number.isFinite(domains) ? between(1, domains) : `n${drawn}`;
    return `u${drawn}@d${number}.${host}.test`;
  };
  return () => {
    const [, fewest, most] = pick(RECIPIENTS, ([share]) => share, random());
    const recipients = Array.from({ length: between(fewest, most) }, recipient);
    const isLarge = random() < LARGE_SHARE;
    const bytes = isLarge
      ? between(USUAL_BYTES_MAX, LARGEST_BYTES)
      : logUniform(SMALLEST_BYTES, USUAL_BYTES_MAX, random());
    return { bytes, recipients, keep: random() < KEEP_SHARE };
  };
}

function pick<T>(from: readonly T[], shareOf: (one: T) => number, dice: number): T {
  const total = from.reduce((sum, one) => sum + shareOf(one), 0);
  let left = dice * total;
  for (const one of from) {
    left -= shareOf(one);
    if (left < 0) return one;
  }
  return from[0] as T;
}

/** Each doubling of the size is as likely as any other. */
function logUniform(least: number, most: number, dice: number): number {
  return Math.round(least * (most / least) ** dice);
}
