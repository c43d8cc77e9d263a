import { type FileHandle, open } from "node:fs/promises";
import type { Clock } from "../lib/world.ts";

/** Times a sync now and then while others keep the disk and the machine busy. */
export interface SyncWatch {
  /** The slowest so far, the delays of this process included. */
  maxMs(): number;
  /** Ends it. */
  stop(): Promise<void>;
}

const EVERY_MS = 200;
const BYTES = 4096;

/** Watches the disk that a file is on, which is made and stays. A disk that refuses is not timed. */
export async function watchSyncs(path: string, clock: Clock): Promise<SyncWatch> {
  const file = await open(path, "w", 0o600);
  let maxMs = 0;
  let isOver = false;
  const watch = async (): Promise<void> => {
    while (!isOver) {
      maxMs = Math.max(maxMs, await timed(file, clock));
      await new Promise<void>((resolve) => clock.after(EVERY_MS, resolve));
    }
  };
  const ended = watch();
  return {
    maxMs: () => maxMs,
    async stop() {
      isOver = true;
      await ended;
      await file.close();
    },
  };
}

async function timed(file: FileHandle, clock: Clock): Promise<number> {
  const startedAt = clock.now();
  try {
    await file.write(new Uint8Array(BYTES), 0, BYTES, 0);
    await file.datasync();
    return clock.now() - startedAt;
  } catch {
    return 0;
  }
}
