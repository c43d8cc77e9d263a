import type { Emit } from "../../observe/events.ts";
import { type CompactionParts, compactOnce } from "./compaction.ts";
import { removeOrphans } from "./orphans.ts";

/** Messages that end between two looks for something to compact. */
const COMPACT_EVERY = 2000;

type HousekeepingParts = Omit<CompactionParts, "newest" | "spared"> & { readonly emit: Emit };

/** What the engine does in the background: giving space back. One job at a time; never in the way of mail. */
export class Housekeeping {
  readonly #parts: HousekeepingParts;
  /** Segments that could not be emptied: looking at them again would not help. */
  readonly #spared = new Set<number>();
  readonly #stopped = Promise.withResolvers<"stopped">();
  #isStopped = false;
  #ended = 0;
  #compacting: Promise<void> | undefined;
  #sweeping: Promise<void> | undefined;

  constructor(parts: HousekeepingParts) {
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
    this.#compacting ??= this.#job("compact", () => this.#compactRounds()).finally(() => {
      this.#compacting = undefined;
    });
    return this.#compacting;
  }

  /** Removes the files of segments that ended just before the last process did. Never throws. */
  sweepOrphans(): Promise<void> {
    this.#sweeping ??= this.#job("sweep", () => this.#sweep()).finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  /** Finishes what is under way and starts no more; does not wait for a database that cannot be written. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopped.resolve("stopped");
    await Promise.all([this.#compacting, this.#sweeping]);
  }

  async #job(operation: string, work: () => Promise<void>): Promise<void> {
    // Whoever noticed that there is work is in the middle of its own.
    await Promise.resolve();
    try {
      await work();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#parts.emit({ kind: "storage", state: "failing", operation, reason });
    }
  }

  async #compactRounds(): Promise<void> {
    const { journal, db } = this.#parts;
    while (!this.#isStopped) {
      journal.apply();
      const newest = db.meta("indexed");
      const chosen = await compactOnce({ ...this.#parts, newest, spared: this.#spared });
      if (chosen === 0) return;
      // The emptied segments go with the next batch; only then is their space back.
      await this.#durable();
    }
  }

  async #sweep(): Promise<void> {
    const { journal, db } = this.#parts;
    journal.apply();
    await removeOrphans({
      ...this.#parts,
      indexed: db.meta("indexed"),
      durable: () => this.#durable(),
      isStopped: () => this.#isStopped,
    });
  }

  async #durable(): Promise<void> {
    await Promise.race([this.#parts.journal.durable(), this.#stopped.promise]);
  }
}
