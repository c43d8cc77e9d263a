import type { Clock } from "../../lib/world.ts";

/**
 * Instants in the store are by its own clock, so that nodes whose clocks disagree agree on what is due and whose lease is
 * over: what goes there and comes from there is shifted by the difference.
 */
export interface StoreTime {
  /** The store's time. */
  now(): number;
  toStore(instant: number): number;
  fromStore(instant: number): number;
}

/** What servers say of the time is as exact as this. */
const TOLERANCE_MS = 100;

/** `differenceMs` says how much later it is for the store than for this node. */
export function storeTime(clock: Clock, differenceMs: () => number): StoreTime {
  let used = differenceMs();
  // What was written with one difference is to be read with the same.
  const difference = (): number => {
    const said = differenceMs();
    if (Math.abs(said - used) > TOLERANCE_MS) used = said;
    return used;
  };
  return {
    now: () => clock.now() + difference(),
    toStore: (instant) => instant + difference(),
    fromStore: (instant) => instant - difference(),
  };
}
