import { contentSize } from "../mail/content.ts";
import type { Envelope } from "../mail/envelope.ts";

/** Messages whose bytes are still in memory for their first attempt, within a fixed budget of octets (P8). */
export class FreshMessages {
  readonly #bytesMax: number;
  readonly #envelopes = new Map<string, Envelope>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Beyond the budget a message is not kept: its attempt reads it back. */
  keep(id: string, envelope: Envelope): void {
    if (envelope.content.body.kind !== "bytes") return;
    const size = contentSize(envelope.content);
    if (this.#bytes + size > this.#bytesMax) return;
    this.#envelopes.set(id, envelope);
    this.#bytes += size;
  }

  get(id: string): Envelope | undefined {
    return this.#envelopes.get(id);
  }

  drop(id: string): void {
    const envelope = this.#envelopes.get(id);
    if (envelope === undefined) return;
    this.#envelopes.delete(id);
    this.#bytes -= contentSize(envelope.content);
  }
}
