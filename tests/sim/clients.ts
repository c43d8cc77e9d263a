import type { Clock } from "../../src/lib/world.ts";
import type { Send } from "./history.ts";
import type { Ledger } from "./ledger.ts";
import { handIn, idOf } from "./mail.ts";
import type { Node } from "./node.ts";

interface Mail {
  readonly send: Send;
  readonly sentAt: number;
  state: "acknowledged" | "refused" | "unknown";
  ids: readonly string[];
}

export interface ClientCounts {
  readonly sent: number;
  readonly acknowledged: number;
  readonly refused: number;
  /** The process ended before it answered. */
  readonly unknown: number;
}

export interface ClientsParts {
  readonly clock: Clock;
  readonly ledger: Ledger;
  readonly trace: (line: string) => void;
}

/** Everybody who hands mail in, and what each was told. */
export class Clients {
  readonly #parts: ClientsParts;
  readonly #mails = new Map<number, Mail>();

  constructor(parts: ClientsParts) {
    this.#parts = parts;
  }

  counts(): ClientCounts {
    const counts = { acknowledged: 0, refused: 0, unknown: 0 };
    for (const { state } of this.#mails.values()) counts[state] += 1;
    return { sent: this.#mails.size, ...counts };
  }

  /** The ids that one client was told. */
  idsOf(number: number): readonly string[] {
    return this.#mails.get(number)?.ids ?? [];
  }

  send(send: Send, node: Node): void {
    if (!node.isOpen) return;
    const mail: Mail = { send, sentAt: this.#parts.clock.now(), state: "unknown", ids: [] };
    this.#mails.set(send.number, mail);
    node.serve(this.#offer(mail, node));
  }

  /** A client that never heard of its message hands it in once more, under the id that it had. */
  again(number: number, node: Node): void {
    const mail = this.#mails.get(number);
    if (mail === undefined || mail.send.keyed === 0 || mail.send.streamed > 0) return;
    if (node.isOpen && mail.state !== "acknowledged") node.serve(this.#offer(mail, node));
  }

  async #offer(mail: Mail, { running }: Node): Promise<void> {
    if (running === undefined) return;
    const { ledger, trace } = this.#parts;
    const { life, queue, storage } = running;
    const { number, keyed, to } = mail.send;
    let discard = (): Promise<void> => Promise.resolve();
    try {
      const handed = await handIn(mail.send, mail.sentAt, storage);
      discard = handed.discard;
      mail.ids = await queue.enqueue(handed.envelope, ...(keyed > 0 ? [idOf(number)] : []));
      mail.state = "acknowledged";
      trace(`250 ${number} ${mail.ids.join()}`);
      ledger.acknowledged(mail.ids, to);
    } catch (error) {
      if (life.isDead) return;
      mail.state = "refused";
      trace(`4xx ${number} ${String(error)}`);
      await discard().catch(() => undefined);
    }
  }
}
