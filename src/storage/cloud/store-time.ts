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

/** `differenceMs` says how much later it is for the store than for this node. */
export function storeTime(clock: Clock, differenceMs: () => number): StoreTime {
  return {
    now: () => clock.now() + differenceMs(),
    toStore: (instant) => instant + differenceMs(),
    fromStore: (instant) => instant - differenceMs(),
  };
}
