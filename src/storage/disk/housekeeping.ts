import type { Emit } from "../../observe/events.ts";
import { type CompactionParts, compactOnce } from "./compaction.ts";

/** Messages that end between two looks for something to compact. */
const COMPACT_EVERY = 2000;

/** What the engine does in the background: giving space back. One round at a time; never in the way of mail. */
export class Housekeeping {
  readonly #parts: Omit<CompactionParts, "newest"> & { readonly emit: Emit };
  #ended = 0;
  #compacting: Promise<void> | undefined;
  #stopped = false;

  constructor(parts: Omit<CompactionParts, "newest"> & { readonly emit: Emit }) {
    this.#parts = parts;
  }

  /** A message has ended: there may be something to give back. */
  noteEnded(): void {
    this.#ended += 1;
    if (this.#ended >= COMPACT_EVERY) void this.compact();
  }

  /** Never throws: it is only housekeeping, and the next round tries again. */
  compact(): Promise<void> {
    this.#ended = 0;
    this.#compacting ??= this.#rounds().finally(() => {
      this.#compacting = undefined;
    });
    return this.#compacting;
  }

  /** Finishes the round under way and starts no more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#compacting;
  }

  async #rounds(): Promise<void> {
    const { journal, db, emit } = this.#parts;
    try {
      while (!this.#stopped) {
        journal.apply();
        const newest = db.meta("indexed");
        if ((await compactOnce({ ...this.#parts, newest })) === 0) return;
        // The emptied segments go with the next batch; only then is their space back.
        await journal.durable();
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      emit({ kind: "storage", state: "failing", operation: "compact", reason });
    }
  }
}
