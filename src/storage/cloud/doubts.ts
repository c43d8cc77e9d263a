import type { Endings } from "./endings.ts";
import { nameOf, stateKey } from "./keys.ts";
import type { MailHead } from "./mail-object.ts";
import type { CloudPart } from "./part.ts";
import type { States } from "./states.ts";

/** Messages whose writing failed that are remembered; of more, some may be stored although their client heard a 4xx. */
const DOUBTS_MAX = 10_000;
/** What was under way when it failed has ended by then. */
const DELAY_MS = 2000;

export interface DoubtsParts {
  readonly part: CloudPart;
  readonly states: States;
  readonly endings: Endings;
  readonly headOf: (id: string) => Promise<MailHead | undefined>;
}

/**
 * Messages that a client was refused and that may be stored all the same, since only the answer was lost. They are taken
 * back, those aside that somebody has begun to deliver (P1).
 */
export class Doubts {
  readonly #parts: DoubtsParts;
  readonly #ids = new Set<string>();
  readonly #groups = new Set<string>();
  #cancel: (() => void) | undefined;
  #isClosed = false;

  constructor(parts: DoubtsParts) {
    this.#parts = parts;
  }

  /** These failed, as the outbox of this group if there is one. */
  add(ids: readonly string[], group?: string): void {
    if (this.#ids.size + ids.length > DOUBTS_MAX) return;
    for (const id of ids) this.#ids.add(id);
    if (group !== undefined) this.#groups.add(group);
    this.#soon();
  }

  /** Somebody writes these now. */
  settled(ids: readonly string[]): void {
    for (const id of ids) this.#ids.delete(id);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
  }

  #soon(): void {
    if (this.#isClosed || this.#cancel !== undefined) return;
    this.#cancel = this.#parts.part.world.clock.after(DELAY_MS, () => {
      this.#cancel = undefined;
      void this.#withdraw().catch(() => this.#soon());
    });
  }

  async #withdraw(): Promise<void> {
    for (const group of this.#groups) {
      await this.#parts.part.objects.remove([stateKey(group)]);
      this.#groups.delete(group);
    }
    for (const id of this.#ids) {
      await this.#withdrawMail(id);
      this.#ids.delete(id);
    }
  }

  async #withdrawMail(id: string): Promise<void> {
    const { states, endings, headOf } = this.#parts;
    const head = await headOf(id);
    if (head === undefined) return;
    if ((await states.read(nameOf(head.initial))) !== undefined) return;
    await endings.end(head, head.initial);
  }
}
