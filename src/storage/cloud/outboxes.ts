import { QueueError } from "../../mail/queue-error.ts";
import type { Endings } from "./endings.ts";
import { inParallel } from "./in-parallel.ts";
import { mailKey, nameOf } from "./keys.ts";
import { Lru } from "./lru.ts";
import { decodeHead, type MailHead } from "./mail-object.ts";
import { type CloudPart, changeNow } from "./part.ts";
import { markerOf, type Outbox, type State, withOutbox } from "./state-object.ts";
import type { KnownState, States } from "./states.ts";

/** So long one node has for the mails of an outbox; then they are for whoever finds it. */
const OUTBOX_MS = 60_000;
/** What is begun so long before that has ended by then. */
const REQUEST_MS = 25_000;
/** Outboxes that are known to be sent. */
const SENT_MAX = 10_000;

export interface OutboxParts {
  readonly part: CloudPart;
  readonly states: States;
  readonly endings: Endings;
  /** The head of a message as it is stored now. */
  readonly headOf: (id: string) => Promise<MailHead | undefined>;
}

/**
 * Several messages stored in one step (P2, P4): they are part of one state, whose writing is that step, and become objects
 * of their own behind it. Nobody takes or changes one of them before all are there and the outbox is gone. So it does no
 * harm when several write them: what is there is left as it is, and what has ended cannot come back.
 */
export class Outboxes {
  readonly #parts: OutboxParts;
  readonly #sent = new Lru<true>(SENT_MAX);

  constructor(parts: OutboxParts) {
    this.#parts = parts;
  }

  /** An outbox for these mails, which this node is to send. `make` gets what each says of where it comes from. */
  open(name: string, make: (origin: string) => readonly Uint8Array[]): Outbox {
    const { time, newId } = this.#parts.part;
    const box = newId();
    return { name: box, until: time.now() + OUTBOX_MS, mails: make(`${name}.${box}`) };
  }

  /**
   * Sends the outbox of a state and takes it off, or ends the message. Who has just written the state says so, with the
   * message's head if it has any; for others it rejects while that one has time.
   */
  async send(known: KnownState, own?: { readonly head: MailHead | undefined }): Promise<void> {
    const claimed = own === undefined ? await this.#claim(known) : known;
    const { state } = claimed;
    const { outbox } = state;
    if (outbox !== undefined) {
      await inParallel(outbox.mails, (mail) => this.#write(mail, outbox));
      this.#sent.set(`${nameOf(state)}.${outbox.name}`, true);
    }
    const head = own === undefined ? await this.#ownHead(state) : own.head;
    if (state.isEnded) await this.#parts.endings.end(head, state);
    else await this.#replace(claimed, undefined);
  }

  /** Rejects while the message is part of an outbox that is not sent. */
  async requireSent({ origin, initial }: MailHead): Promise<void> {
    if (origin === undefined || this.#sent.get(origin)) return;
    const [id, born, box] = origin.split(".");
    const known = await this.#parts.states.read(`${id}.${born}`);
    if (known?.state.outbox?.name === box) {
      if (known === undefined || !this.#isOver(known.state)) throw notYet(initial.id);
      await this.send(known);
    }
    this.#sent.set(origin, true);
  }

  #isOver({ outbox }: State): boolean {
    return outbox === undefined || outbox.until <= this.#parts.part.time.now();
  }

  async #claim(known: KnownState): Promise<KnownState> {
    const { outbox } = known.state;
    if (outbox === undefined) return known;
    if (!this.#isOver(known.state)) throw notYet(known.state.id);
    return await this.#replace(known, {
      ...outbox,
      until: this.#parts.part.time.now() + OUTBOX_MS,
    });
  }

  async #replace(known: KnownState, outbox: Outbox | undefined): Promise<KnownState> {
    const { states, part } = this.#parts;
    const after = await states.replace(known, withOutbox(known.state, outbox, changeNow(part)));
    if (after === undefined) throw notYet(known.state.id);
    return after;
  }

  async #write(mail: Uint8Array, { until }: Outbox): Promise<void> {
    const { part, headOf } = this.#parts;
    const { objects, marks, time, wakeUp } = part;
    if (time.now() > until - REQUEST_MS) throw new QueueError("an outbox took too long to be sent");
    const { initial } = decodeHead(mail);
    const marker = markerOf(initial);
    const put = () => objects.put(mailKey(initial.id), mail, "absent");
    const version = await marks.before(marker, put);
    const isOurs =
      version !== undefined || (await headOf(initial.id))?.initial.born === initial.born;
    if (!isOurs) return marks.drop(marker);
    marks.changed(undefined, marker);
    if (initial.lease === null) wakeUp?.tell([{ id: initial.id, timestamp: initial.due }]);
  }

  /** The mail that a state belongs to: that of several messages stored together has none. */
  async #ownHead(state: State): Promise<MailHead | undefined> {
    const head = await this.#parts.headOf(state.id);
    return head !== undefined && nameOf(head.initial) === nameOf(state) ? head : undefined;
  }
}

function notYet(id: string): QueueError {
  return new QueueError(`message ${id} is just being settled by another node`);
}
