import { usageError } from "../cli-error.ts";

export const STAGES = ["connect", "mail", "rcpt", "data", "dot"] as const;
export type Stage = (typeof STAGES)[number];

/** What a fault does: put off with 4xx, refuse with 5xx, say nothing more, or close the connection. */
export type Fault = "defer" | "reject" | "stall" | "drop";
export const FAULTS: readonly Fault[] = ["defer", "reject", "stall", "drop"];

export interface FaultOptions {
  /** From 0 to 1 each, at most 1 together. */
  readonly shares: Readonly<Record<Fault, number>>;
  readonly stage: Stage;
}

/** Decides, each time a stage is reached, whether something goes wrong and what. */
export function faultDice(
  { shares, stage }: FaultOptions,
  random: () => number,
): (reached: Stage) => Fault | undefined {
  return (reached) => {
    if (reached !== stage) return undefined;
    let roll = random();
    for (const fault of FAULTS) {
      if (roll < shares[fault]) return fault;
      roll -= shares[fault];
    }
    return undefined;
  };
}

/** The share in `10%`, `0.5%` or `10`. */
export function readShare(flag: string, text: string): number {
  const percent = /^\d+(?:\.\d+)?%?$/u.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (percent >= 0 && percent <= 100) return percent / 100;
  throw usageError(`--${flag}: expected a share from 0% to 100%, found "${text}"`);
}

/** Numbers in [0, 1) that follow from a seed (mulberry32): the same seed, the same faults. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
