import type { Clock } from "./world.ts";

/** Resolves after so long, or when `signal` says so; leaves nothing behind at either of them. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = (): void => {
      cancel();
      signal?.removeEventListener("abort", over);
      resolve();
    };
    const cancel = clock.after(delayMs, over);
    signal?.addEventListener("abort", over);
    if (signal?.aborted) over();
  });
}
