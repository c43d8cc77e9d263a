import type { QueuePart } from "./part.ts";

/** Messages whose writing failed that are remembered; of more, some may be stored although their client heard a 4xx. */
const DOUBTS_MAX = 10_000;

/**
 * Messages that a client was refused and that may be stored all the same, since the connection was lost before the
 * answer. They are taken back as soon as the server is there again, those aside that somebody has begun to deliver (P1).
 */
export class Doubts {
  readonly #part: Pick<QueuePart, "connection" | "base">;
  readonly #holders = new Map<string, string>();

  constructor(part: Pick<QueuePart, "connection" | "base">) {
    this.#part = part;
    part.connection.onBack(() => void this.withdraw());
  }

  /** These failed; they were leased to `holder`, or to nobody when that is empty. */
  add(ids: readonly string[], holder: string): void {
    for (const id of ids) if (this.#holders.size < DOUBTS_MAX) this.#holders.set(id, holder);
    if (this.#part.connection.down === undefined) void this.withdraw();
  }

  /** Somebody writes these now. */
  settled(ids: readonly string[]): void {
    if (this.#holders.size === 0) return;
    for (const id of ids) this.#holders.delete(id);
  }

  /** Never rejects; what fails is tried again when the connection is back. */
  async withdraw(): Promise<void> {
    const doubtful = new Map(this.#holders);
    for (const holder of new Set(doubtful.values())) {
      const ids = [...doubtful].filter(([, each]) => each === holder).map(([id]) => id);
      for (const id of ids) this.#holders.delete(id);
      await this.#withdraw(holder, ids).catch(() => {
        for (const id of ids) this.#holders.set(id, holder);
      });
    }
  }

  async #withdraw(holder: string, ids: readonly string[]): Promise<void> {
    const { connection, base } = this.#part;
    if (ids.length > 0) await connection.run("withdraw", base, [holder, ...ids]);
  }
}
