/** A pause ends in time or when it is told to, and leaves nothing behind. */
import { expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { pause } from "../../src/lib/pause.ts";
import { simWorld } from "../support/sim-world.ts";

test("a pause lasts as long as it should", async () => {
  const world = simWorld();
  let isOver = false;
  const pausing = pause(world.clock, 1000).then(() => {
    isOver = true;
  });
  await world.advance(999);
  expect(isOver).toBe(false);
  await world.advance(1);
  await pausing;
});

test("a pause ends when it is told to, also before it began", async () => {
  const { clock } = simWorld();
  const stop = new AbortController();
  const pausing = pause(clock, 1000, stop.signal);
  stop.abort();
  await pausing;
  await pause(clock, 1000, stop.signal);
});

test("a pause leaves nothing behind at a signal that outlives it", async () => {
  const world = simWorld();
  const { signal } = new AbortController();
  const pausing = pause(world.clock, 1000, signal);
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
  await world.advance(1000);
  await pausing;
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});
