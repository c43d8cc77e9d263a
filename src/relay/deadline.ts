import type { Clock } from "../lib/world.ts";

/** One time limit that is moved often and seldom reached. */
export interface Deadline {
  /** Sets the limit to `delayMs` from now, in place of any other. */
  set(delayMs: number): void;
  /** No limit until the next `set`. */
  clear(): void;
  /** No limit and no timer. */
  close(): void;
}

/** Makes a deadline that calls `reached`. It touches the timer only when the limit comes nearer than that. */
export function deadline(clock: Clock, reached: () => void): Deadline {
  let at = Number.POSITIVE_INFINITY;
  let timerAt = Number.POSITIVE_INFINITY;
  let cancel: (() => void) | undefined;

  function fire(): void {
    timerAt = Number.POSITIVE_INFINITY;
    cancel = undefined;
    if (at === Number.POSITIVE_INFINITY) return;
    if (clock.now() < at) {
      start();
      return;
    }
    at = Number.POSITIVE_INFINITY;
    reached();
  }

  function start(): void {
    cancel?.();
    timerAt = at;
    cancel = clock.after(Math.max(1, at - clock.now()), fire);
  }

  return {
    set(delayMs) {
      at = clock.now() + delayMs;
      if (at < timerAt) start();
    },
    clear() {
      at = Number.POSITIVE_INFINITY;
    },
    close() {
      at = Number.POSITIVE_INFINITY;
      timerAt = Number.POSITIVE_INFINITY;
      cancel?.();
      cancel = undefined;
    },
  };
}
