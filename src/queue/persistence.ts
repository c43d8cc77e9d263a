import type { Clock } from "../lib/world.ts";
import type { Emit } from "../observe/events.ts";
import { CorruptError, LostLeaseError, NotFoundError } from "../storage/storage.ts";

/** What storage is asked for, and may fail at. */
export type Work = "lease" | "read" | "settle" | "release" | "share";

/** How long storage is left alone after it failed. */
export const PAUSE_MS = 1000;

/**
 * Patience with a storage that fails: what it must take is offered again until it takes it (P7), and its trouble is told
 * once, not once for each message that meets it.
 */
export class Persistence {
  readonly #clock: Clock;
  readonly #emit: Emit;
  readonly #failing = new Set<Work>();
  #stopped = false;
  #pause: PromiseWithResolvers<void> | undefined;
  #cancelTimer: (() => void) | undefined;

  constructor(clock: Clock, emit: Emit) {
    this.#clock = clock;
    this.#emit = emit;
  }

  /**
   * Does durable work, again and again while storage fails. Rejects when repeating is of no use, the message being gone
   * or somebody else's, and after `stop` with whatever the latest try failed with. `work` must be idempotent.
   */
  async untilDone(operation: Work, work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await work();
        this.worked(operation);
        return;
      } catch (error) {
        if (isFinal(error)) throw error;
        this.failed(operation, error);
        if (this.#stopped) throw error;
        await this.#rest();
      }
    }
  }

  failed(operation: Work, error: unknown): void {
    if (this.#failing.has(operation)) return;
    this.#failing.add(operation);
    const reason = error instanceof Error ? error.message : String(error);
    this.#emit({ kind: "storage", state: "failing", operation, reason });
  }

  worked(operation: Work): void {
    if (this.#failing.size === 0 || !this.#failing.delete(operation)) return;
    this.#emit({ kind: "storage", state: "recovered", operation, reason: "" });
  }

  /** Nothing is repeated any more. */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#pause?.resolve();
  }

  /** Whoever waits, waits for the same instant: one timer. */
  async #rest(): Promise<void> {
    if (this.#pause === undefined) {
      const pause = Promise.withResolvers<void>();
      this.#pause = pause;
      this.#cancelTimer = this.#clock.after(PAUSE_MS, () => {
        this.#pause = undefined;
        pause.resolve();
      });
    }
    await this.#pause.promise;
  }
}

/** Whether an error says that there is nothing (left) to do, and so nothing to try again. */
export function isFinal(error: unknown): boolean {
  return (
    error instanceof NotFoundError ||
    error instanceof LostLeaseError ||
    error instanceof CorruptError
  );
}
