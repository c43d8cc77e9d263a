import { realWorld, type World } from "../../src/lib/world.ts";

/** A world in which everything that waits for time waits `factor` times less. */
export function hastyWorld(factor: number): World {
  const { now, after } = realWorld.clock;
  const start = now();
  return {
    ...realWorld,
    clock: {
      now: () => start + (now() - start) * factor,
      after: (delayMs, run) => after(delayMs / factor, run),
    },
  };
}

/** A world whose clock is wrong. */
export function skewedWorld(byMs: number): World {
  const { clock } = realWorld;
  return { ...realWorld, clock: { ...clock, now: () => clock.now() + byMs } };
}

/** A world whose clock is right and whose timers go off `factor` times sooner. */
export function impatientWorld(factor: number): World {
  const { now, after } = realWorld.clock;
  return { ...realWorld, clock: { now, after: (ms, run) => after(ms / factor, run) } };
}
