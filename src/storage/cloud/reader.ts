import { type Body, contentSize, HEAD_BYTES_MAX } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import type { FreshMessages } from "../fresh.ts";
import { storedMessage } from "../message-row.ts";
import { envelopeOf, isRecordId } from "../record.ts";
import { CorruptError, NotFoundError, type StoredMessage } from "../storage.ts";
import { DamagedError } from "../store-error.ts";
import { sourceBody } from "./bodies.ts";
import type { Endings } from "./endings.ts";
import { bodyKey, mailKey, nameOf } from "./keys.ts";
import type { Lru } from "./lru.ts";
import { decodeHead, headLength, inlineBody, type MailHead, withoutPrefix } from "./mail-object.ts";
import { moveAside } from "./move-aside.ts";
import { NotYetError, type Outboxes } from "./outboxes.ts";
import type { CloudPart } from "./part.ts";
import { isLeased, rowOf, type State } from "./state-object.ts";
import type { KnownState, States } from "./states.ts";

/** A message as this node saw it last. */
export interface Known extends KnownState {
  readonly head: MailHead;
}

/** What a read of a head asks for: nearly all are smaller. */
const HEAD_OCTETS = 8 * 1024;
/** A message that is not longer is read whole. */
const WHOLE_OCTETS = 320 * 1024;
/** How often, and after which pauses, one asks for what somebody else is just sending. */
const TRIES_MAX = 10;
const PAUSE_MS = 500;

export interface ReaderParts {
  readonly part: CloudPart;
  readonly states: States;
  readonly outboxes: Outboxes;
  readonly endings: Endings;
  readonly fresh: FreshMessages;
  readonly seen: Lru<Known>;
}

/** Reads messages, and moves aside what is damaged (P6). */
export class Reader {
  readonly #parts: ReaderParts;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  /** As `QueueStorage.get`: what others have done to it since this node saw it last counts, whatever is kept here. */
  async message(id: string): Promise<StoredMessage> {
    const known = this.#parts.seen.get(id);
    const envelope = known && this.#parts.fresh.get(id);
    return await this.#guarded(id, async () => {
      const octets = envelope === undefined ? WHOLE_OCTETS : HEAD_OCTETS;
      const [bytes, found] = await Promise.all([
        this.#mail(id, octets),
        known && this.#stateOf(known.head),
      ]);
      if (bytes === undefined) return await this.#gone(id);
      const head = decodeHead(bytes, id);
      const isSame = known?.head.initial.born === head.initial.born;
      const { state } = this.#noteSeen(head, (isSame && found) || (await this.#stateOf(head)));
      if (state.isEnded) return await this.#gone(id);
      const isHere = isSame && envelope !== undefined;
      return this.#stored(head, state, isHere ? envelope : await this.#envelope(head, bytes));
    });
  }

  /** As it is at this moment. Waits a little, then rejects, while an outbox that it is in or has is somebody else's. */
  async current(id: string): Promise<Known> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#current(id);
      } catch (error) {
        if (!(error instanceof NotYetError) || tries === TRIES_MAX) throw error;
      }
      const { clock } = this.#parts.part.world;
      await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve));
    }
  }

  async #current(id: string): Promise<Known> {
    const head = await this.head(id);
    if (head === undefined) return await this.#gone(id);
    return await this.#guarded(id, async () => this.#settled(head, await this.#stateOf(head)));
  }

  /** What a list shows; `undefined` when it is gone or moved aside. Changes nothing else. */
  async shown(id: string): Promise<Pick<Known, "head" | "state"> | undefined> {
    try {
      const head = await this.head(id);
      if (head === undefined) return undefined;
      const { state } = await this.#guarded(id, () => this.#stateOf(head));
      return state.isEnded ? undefined : { head, state };
    } catch (error) {
      if (error instanceof CorruptError) return undefined;
      throw error;
    }
  }

  /** What of a message never changes; `undefined` when it is not stored. */
  async head(id: string): Promise<MailHead | undefined> {
    return await this.#guarded(id, async () => {
      const object = await this.#mail(id, HEAD_OCTETS);
      return object === undefined ? undefined : decodeHead(object, id);
    });
  }

  forget(id: string): void {
    this.#parts.fresh.drop(id);
    this.#parts.seen.delete(id);
  }

  /** P6: the damaged message leaves the queue, stays readable under `corrupt/`, is counted and told. */
  async moveAside(id: string, reason: string): Promise<void> {
    this.forget(id);
    await moveAside(this.#parts.part, id, reason);
  }

  /** The same when nothing is left to be done first. */
  async #settled(head: MailHead, found: KnownState): Promise<Known> {
    const { outboxes } = this.#parts;
    let known = found;
    if (known.version === undefined) await outboxes.requireSent(head);
    if (known.state.isEnded || known.state.outbox !== undefined) {
      await outboxes.send(known);
      if (known.state.isEnded) return await this.#gone(head.initial.id);
      known = await this.#stateOf(head);
    }
    return this.#noteSeen(head, known);
  }

  /** Keeps it for whoever changes it next, if nothing is to be done before. */
  #noteSeen(head: MailHead, known: KnownState): Known {
    const { version, state } = known;
    const now: Known = { ...known, head: withoutPrefix(head) };
    const isPart = version === undefined && head.origin !== undefined;
    const isClear = state.outbox === undefined && !state.isEnded;
    if (isClear && !isPart) this.#parts.seen.set(head.initial.id, now);
    return now;
  }

  async #stateOf({ initial }: MailHead): Promise<KnownState> {
    const at = this.#parts.part.time.now();
    const found = await this.#parts.states.read(nameOf(initial));
    return found ?? { state: initial, version: undefined, at };
  }

  /** Its first octets, the whole head at least. */
  async #mail(id: string, octets: number): Promise<Uint8Array | undefined> {
    const { objects } = this.#parts.part;
    if (!isRecordId(id)) return undefined;
    const first = await objects.get(mailKey(id), { start: 0, end: octets });
    if (first === undefined || first.bytes.length < octets) return first?.bytes;
    const length = headLength(first.bytes);
    if (length <= octets) return first.bytes;
    return (await objects.get(mailKey(id), { start: 0, end: length }))?.bytes;
  }

  async #envelope(head: MailHead, bytes: Uint8Array): Promise<Envelope> {
    const envelope = envelopeOf(head.record, await this.#body(head, bytes));
    if (contentSize(envelope.content) !== head.initial.size) {
      throw new DamagedError("it has another size");
    }
    return envelope;
  }

  async #body(head: MailHead, bytes: Uint8Array): Promise<Body> {
    const { objects } = this.#parts.part;
    const { record, body, end, initial } = head;
    if (body.name === undefined && bytes.length < WHOLE_OCTETS) return inlineBody(head, bytes);
    const apart = body.name !== undefined;
    const key = body.name === undefined ? mailKey(initial.id) : bodyKey(body.name);
    const start = apart ? 0 : end;
    const range = { start, end: start + Math.min(HEAD_BYTES_MAX, record.bodyLength) };
    const first = range.end > start ? await objects.get(key, range) : undefined;
    if (first === undefined && record.bodyLength > 0) throw new DamagedError("its body is missing");
    const from = { objects, key, start, size: record.bodyLength, sum: body.sum };
    return sourceBody(from, first?.bytes ?? new Uint8Array(0), async (error) => {
      await this.moveAside(initial.id, error.message);
    });
  }

  #stored(head: MailHead, state: State, envelope: Envelope): StoredMessage {
    const { time } = this.#parts.part;
    const row = rowOf(factsOf(head), state, time.now());
    const message = storedMessage({ ...row, due: time.fromStore(row.due) }, envelope);
    const { lease } = state;
    if (lease === null || !isLeased(state, time.now())) return message;
    return { ...message, lease: { ...lease, until: time.fromStore(lease.until) } };
  }

  /** A message that is not there, and what this node may still have of it. */
  async #gone(id: string): Promise<never> {
    const { seen, endings } = this.#parts;
    const known = seen.get(id);
    this.forget(id);
    if (known !== undefined && known.state.version > 0) await endings.end(undefined, known.state);
    throw new NotFoundError(`no message ${id}`);
  }

  async #guarded<T>(id: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      await this.moveAside(id, error.message);
      throw new CorruptError(`message ${id} is damaged: ${error.message}`, { cause: error });
    }
  }
}

/** What of the head its state does not repeat. */
export function factsOf({ record }: MailHead) {
  const { sender, receivedAt, recipients } = record.envelope;
  return { sender, receivedAt: Math.round(receivedAt), recipientCount: recipients.length };
}
