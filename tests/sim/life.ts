import type { Clock } from "../../src/lib/world.ts";

/** The process has ended: what it still waits for never comes. */
export class DeadError extends Error {
  override readonly name = "DeadError";
  readonly code = "EDEAD";
}

/** One life of a process: from its start to its end, however that comes about. */
export interface Life {
  /** The world's clock, whose timers go off only while the process lives, and not while it is paused. */
  readonly clock: Clock;
  readonly isDead: boolean;
  readonly isPaused: boolean;
  /** Aborted at its end. */
  readonly signal: AbortSignal;
  end(): void;
  /** Nothing of it runs for so long, as after SIGSTOP or on a machine that is moved. */
  pause(ms: number): void;
  /** Passes on what a promise comes to, as long as somebody is there to hear it. */
  heard<T>(promise: Promise<T>): Promise<T>;
}

export function openLife(clock: Clock): Life {
  const ending = new AbortController();
  let pausedUntil = 0;
  const held: (() => void)[] = [];

  function fire(run: () => void): void {
    if (ending.signal.aborted) return;
    if (clock.now() < pausedUntil) held.push(run);
    else run();
  }

  return {
    clock: {
      now: () => clock.now(),
      after: (delayMs, run) => {
        let isCancelled = false;
        const cancel = clock.after(delayMs, () => fire(() => void (isCancelled || run())));
        return () => {
          isCancelled = true;
          cancel();
        };
      },
    },
    get isDead() {
      return ending.signal.aborted;
    },
    signal: ending.signal,
    get isPaused() {
      return clock.now() < pausedUntil;
    },
    end: () => ending.abort(),
    pause(ms) {
      pausedUntil = Math.max(pausedUntil, clock.now() + ms);
      clock.after(ms, () => {
        if (clock.now() >= pausedUntil) for (const run of held.splice(0)) fire(run);
      });
    },
    heard: (promise) =>
      new Promise((resolve, reject) => {
        promise.then(
          (value) => fire(() => resolve(value)),
          (error: unknown) => fire(() => reject(error)),
        );
      }),
  };
}
