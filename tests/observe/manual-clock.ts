import type { Clock } from "../../src/lib/world.ts";

/** A clock that stands still until it is moved. */
export function manualClock(startMs = 0) {
  let nowMs = startMs;
  let timers: { at: number; run: () => void }[] = [];
  const clock: Clock = {
    now: () => nowMs,
    after(delayMs, run) {
      const timer = { at: nowMs + delayMs, run };
      timers.push(timer);
      return () => {
        timers = timers.filter((one) => one !== timer);
      };
    },
  };
  return {
    clock,
    timers: () => timers.length,
    advance(ms: number) {
      const end = nowMs + ms;
      for (;;) {
        const next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers = timers.filter((one) => one !== next);
        nowMs = Math.max(nowMs, next.at);
        next.run();
      }
      nowMs = end;
    },
  };
}
