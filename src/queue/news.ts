import { pause } from "../lib/pause.ts";
import type { Clock } from "../lib/world.ts";
import type { QueueStorage } from "../storage/storage.ts";
import { PAUSE_MS } from "./persistence.ts";

export interface NewsParts {
  readonly storage: Pick<QueueStorage, "wait">;
  readonly clock: Clock;
  /** Storage has something new. */
  readonly onNews: () => void;
}

/**
 * Listens to what other processes tell through storage, until `signal` aborts; at once over for a storage that has no
 * such news. Never rejects: storage that fails is asked again after a while.
 */
export async function listen(
  { storage, clock, onNews }: NewsParts,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      if ((await storage.wait(signal)) === null) return;
      onNews();
    } catch {
      // Whoever writes or leases tells of its trouble.
      await pause(clock, PAUSE_MS, signal);
      onNews();
    }
  }
}
