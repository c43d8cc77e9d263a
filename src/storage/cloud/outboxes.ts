import { QueueError } from "../../mail/queue-error.ts";
import type { Endings } from "./endings.ts";
import { inParallel } from "./in-parallel.ts";
import { mailKey, nameOf, stateKey } from "./keys.ts";
import { Lru } from "./lru.ts";
import { decodeHead, type MailHead } from "./mail-object.ts";
import { type CloudPart, changeNow } from "./part.ts";
import { markerOf, type Outbox, type State, withOutbox } from "./state-object.ts";
import type { KnownState, States } from "./states.ts";

/** So long one node has for the mails of an outbox; then they are for whoever finds it. */
const OUTBOX_MS = 60_000;
const MAIL_MS = 50;
/** What is begun so long before that has ended by then. */
const REQUEST_MS = 30_000;
/** How soon one's own is tried again, and how many of them at most: others are left to whoever finds them. */
const RETRY_MS = 1000;
const RETRIED_MAX = 1000;
/** So long and so often one tries before one says that it has to wait: who wrote several messages wants to see them. */
const PATIENCE_MS = 10_000;
const TRIES_MAX = 5;
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
  /** Mails that this node has written: by the time of another try they may have been delivered, and must not come back. */
  readonly #written = new WeakSet<Uint8Array>();
  readonly #timers = new Set<() => void>();
  #isClosed = false;

  constructor(parts: OutboxParts) {
    this.#parts = parts;
  }

  /** An outbox for these mails, which this node is to send. `make` gets what each says of where it comes from. */
  open(name: string, make: (origin: string) => readonly Uint8Array[]): Outbox {
    const box = this.#parts.part.newId();
    const mails = make(`${name}.${box}`);
    return { name: box, until: this.#timeFor(mails), mails };
  }

  /**
   * Sends the outbox of a state that this node has just written, and takes it off or ends the message; `head` is the message's
   * if there is one. False: it has to wait, and is tried again and again while it is this node's. Never rejects.
   */
  async sendOwn(known: KnownState, head: MailHead | undefined): Promise<boolean> {
    const { world, time } = this.#parts.part;
    const startedAt = time.now();
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      try {
        await this.#sendAll(known, head);
        return true;
      } catch {
        if (this.#isClosed || time.now() - startedAt > PATIENCE_MS) break;
        await new Promise<void>((resolve) => world.clock.after(RETRY_MS, resolve));
      }
    }
    this.#later(known, head);
    return false;
  }

  /** The same for one that was found; rejects while it is somebody else's. */
  async send(known: KnownState): Promise<void> {
    const claimed = await this.#claim(known);
    await this.#sendAll(claimed, await this.#ownHead(claimed.state));
  }

  /** Tries nothing again. */
  close(): void {
    this.#isClosed = true;
    for (const cancel of this.#timers) cancel();
  }

  #later(known: KnownState, head: MailHead | undefined): void {
    const { world, time } = this.#parts.part;
    const { outbox } = known.state;
    const isOver = outbox !== undefined && time.now() + RETRY_MS > outbox.until - REQUEST_MS;
    if (isOver || this.#isClosed || this.#timers.size >= RETRIED_MAX) return;
    const cancel = world.clock.after(RETRY_MS, () => {
      this.#timers.delete(cancel);
      void this.sendOwn(known, head);
    });
    this.#timers.add(cancel);
  }

  async #sendAll(known: KnownState, head: MailHead | undefined): Promise<void> {
    const { endings } = this.#parts;
    const { state } = known;
    const { outbox } = state;
    if (outbox !== undefined) await inParallel(outbox.mails, (mail) => this.#write(mail, outbox));
    if (!state.isEnded) await this.#replace(known, undefined);
    else if (head === undefined) await this.#clear(state);
    else if (outbox === undefined) await endings.end(head, state);
    else await this.#endSent(known, head);
    // Not before: as long as it is there, somebody else may be about to write the mails, too.
    if (outbox !== undefined) this.#sent.set(`${nameOf(state)}.${outbox.name}`, true);
  }

  async #clear(state: State): Promise<void> {
    if (state.outbox !== undefined) this.#requireTime(state.outbox);
    await this.#parts.endings.clear(state);
  }

  /** The state stays for a while when its message is gone: others have to see that the outbox was sent. */
  async #endSent(known: KnownState, head: MailHead): Promise<void> {
    const { states, part, endings } = this.#parts;
    const name = nameOf(known.state);
    const stripped = withOutbox(known.state, undefined, changeNow(part));
    // It may have been done before, by this node too.
    const after = (await states.overwrite(known, stripped)) ?? (await states.read(name));
    if (after === undefined) return part.marks.drop(markerOf(known.state));
    if (after.state.outbox !== undefined) throw notYet(known.state.id);
    await endings.end(head, after.state);
    part.marks.ended(markerOf(known.state), stateKey(name));
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
    return await this.#replace(known, { ...outbox, until: this.#timeFor(outbox.mails) });
  }

  #timeFor({ length }: readonly Uint8Array[]): number {
    return this.#parts.part.time.now() + OUTBOX_MS + MAIL_MS * length;
  }

  async #replace(known: KnownState, outbox: Outbox | undefined): Promise<KnownState> {
    const { states, part } = this.#parts;
    const after = await states.replace(known, withOutbox(known.state, outbox, changeNow(part)));
    if (after === undefined) throw notYet(known.state.id);
    return after;
  }

  async #write(mail: Uint8Array, outbox: Outbox): Promise<void> {
    if (this.#written.has(mail)) return;
    const { objects, marks, wakeUp } = this.#parts.part;
    const { initial } = decodeHead(mail);
    const marker = markerOf(initial);
    this.#requireTime(outbox);
    const version = await marks.before(marker, async () => {
      // Putting the marker may have taken long.
      this.#requireTime(outbox);
      return await objects.put(mailKey(initial.id), mail, "absent");
    });
    const isOurs = version !== undefined || (await this.#isThere(initial));
    this.#written.add(mail);
    if (!isOurs) return marks.drop(marker);
    marks.changed(undefined, marker);
    if (initial.lease === null) wakeUp?.tell([{ id: initial.id, timestamp: initial.due }]);
  }

  /** A mail is there; whether it is this one. */
  async #isThere({ id, born }: State): Promise<boolean> {
    const head = await this.#parts.headOf(id);
    // It was just removed, or is just being written.
    if (head === undefined) throw notYet(id);
    return head.initial.born === born;
  }

  /** Rejects when somebody else might be sending it by now, or before a request of this moment is over. */
  #requireTime({ until }: Outbox): void {
    const isOver = this.#parts.part.time.now() > until - REQUEST_MS;
    if (isOver) throw new QueueError("an outbox took too long to be sent");
  }

  /** The mail that a state belongs to: that of several messages stored together has none. */
  async #ownHead(state: State): Promise<MailHead | undefined> {
    const head = await this.#parts.headOf(state.id);
    return head !== undefined && nameOf(head.initial) === nameOf(state) ? head : undefined;
  }
}

function notYet(id: string): NotYetError {
  return new NotYetError(`message ${id} is just being settled by another node`);
}

/** Somebody else is at it; a moment later it can be had. */
export class NotYetError extends QueueError {
  override readonly name = "NotYetError";
}
