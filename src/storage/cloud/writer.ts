import { type BodySink, bodySize, contentSize, type SourceBody } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { adoptBodies } from "../adopt-bodies.ts";
import type { FreshMessages } from "../fresh.ts";
import { InFlight } from "../in-flight.ts";
import { EPOCH_FIRST, EPOCH_HELD, newRow, numbered } from "../message-row.ts";
import { requireStorable } from "../record.ts";
import type { Settlement, Tenure, WriteOptions } from "../storage.ts";
import { openBodyUpload, refer, release, requireBody, type Uploads } from "./bodies.ts";
import type { Doubts } from "./doubts.ts";
import { inParallel } from "./in-parallel.ts";
import { mailKey, nameOf } from "./keys.ts";
import type { Lru } from "./lru.ts";
import {
  type BodyPlace,
  decodeHead,
  encodeMail,
  type MailHead,
  withoutPrefix,
} from "./mail-object.ts";
import type { Outboxes } from "./outboxes.ts";
import type { CloudPart } from "./part.ts";
import type { Known } from "./reader.ts";
import { attentionAt, markerOf, type State } from "./state-object.ts";
import type { States } from "./states.ts";

/** A body in memory that several messages share is stored once when it is longer than this. */
const SHARED_OCTETS = 64 * 1024;

/** What is to be written under an id. */
export interface Entry {
  readonly id: string;
  readonly envelope: Envelope;
  /** By this node's clock. */
  readonly due: number;
  readonly settlement?: Settlement | undefined;
}

/** A message as it is going to be stored. */
interface Packed {
  readonly envelope: Envelope;
  readonly initial: State;
  readonly apart: Required<BodyPlace> | undefined;
}

/** Messages whose bodies are stored already. */
export interface PackedAll {
  readonly mails: readonly Packed[];
  /** They are being stored, or may be: their bodies are nobody else's to throw away. */
  taken(): void;
  /** In any case: copies that no message took over are thrown away. */
  discard(): Promise<void>;
}

export interface WriterParts {
  readonly part: CloudPart;
  readonly states: States;
  readonly outboxes: Outboxes;
  readonly doubts: Doubts;
  readonly fresh: FreshMessages;
  readonly seen: Lru<Known>;
  readonly headOf: (id: string) => Promise<MailHead | undefined>;
}

/** Stores messages and their bodies. */
export class Writer {
  readonly #parts: WriterParts;
  readonly #uploads: Uploads = new WeakMap();
  readonly #inFlight = new InFlight();

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  openBody(): BodySink {
    const { objects, newId } = this.#parts.part;
    return openBodyUpload(newId(), objects, this.#uploads);
  }

  /** All of these or none; of several with one id the first. */
  async write(entries: readonly Entry[], options: WriteOptions): Promise<void> {
    if (options.fresh) return await this.#write(entries, options);
    // Of two that write the same id here, the first is the first.
    const ids = entries.map(({ id }) => id);
    while (this.#inFlight.has(...ids)) await this.#inFlight.change(ids);
    await this.#inFlight.run(ids, () => this.#write(entries, options));
  }

  async #write(entries: readonly Entry[], options: WriteOptions): Promise<void> {
    const packed = await this.pack(entries, options.lease);
    const names = new Set<string>();
    const mails = packed.mails.filter(({ initial: { id } }) => !names.has(id) && names.add(id));
    const [only] = mails;
    // Also when it fails from here on: nobody knows whether it was done. Then the housekeeping sees to the bodies.
    packed.taken();
    if (only !== undefined && mails.length === 1) await this.#writeOne(only, options);
    else await this.#writeAll(mails, options);
  }

  /** Messages for an outbox; `origin` is what they say of where they come from. */
  encode(mails: readonly Packed[], origin: string): readonly Uint8Array[] {
    return mails.map((mail) => encodeMail({ ...mail, origin }));
  }

  /** Bodies become objects where they should be; after that the messages can be written. */
  async pack(entries: readonly Entry[], lease?: Tenure): Promise<PackedAll> {
    for (const { id, envelope } of entries) requireStorable(id, envelope);
    const given = entries.map(({ envelope }) => numbered(envelope));
    const adopted = await adoptBodies(given, this.#uploads, async () => this.openBody());
    const shared = await this.#shareBodies(adopted.envelopes);
    const discard = async (): Promise<void> => {
      await adopted.discard();
      await shared.discard();
    };
    try {
      const mails = shared.envelopes.map((envelope, index) => {
        const { body } = envelope.content;
        const apart = body.kind === "source" ? this.#uploads.get(body) : undefined;
        const entry = { ...(entries[index] as Entry), envelope };
        return { envelope, apart, initial: this.#initial(entry, lease) };
      });
      await this.#referAll(mails);
      return { mails, discard, taken: () => this.#take(shared.envelopes) };
    } catch (error) {
      await discard();
      throw error;
    }
  }

  async #referAll(mails: readonly Packed[]): Promise<void> {
    const { objects } = this.#parts.part;
    await inParallel(mails, async ({ apart, initial }) => {
      if (apart !== undefined) await refer(objects, apart.name, initial.id);
    });
    const names = new Set(mails.flatMap(({ apart }) => apart?.name ?? []));
    await inParallel([...names], (name) => requireBody(objects, name));
  }

  #take(envelopes: readonly Envelope[]): void {
    for (const { content } of envelopes) {
      if (content.body.kind === "source") this.#uploads.delete(content.body);
    }
  }

  /** A large body of several envelopes is stored once. */
  async #shareBodies(envelopes: readonly Envelope[]) {
    const bodies = envelopes.map(({ content }) => content.body);
    const copies = new Map<unknown, SourceBody>();
    const sinks: BodySink[] = [];
    for (const body of new Set(bodies)) {
      const isShared = bodies.indexOf(body) !== bodies.lastIndexOf(body);
      if (body.kind !== "bytes" || !isShared || bodySize(body) < SHARED_OCTETS) continue;
      const sink = this.openBody();
      sinks.push(sink);
      await sink.write(body.bytes);
      copies.set(body, await sink.end());
    }
    return {
      envelopes: envelopes.map((envelope) => {
        const body = copies.get(envelope.content.body);
        return body ? { ...envelope, content: { ...envelope.content, body } } : envelope;
      }),
      async discard() {
        for (const sink of sinks) await sink.discard();
      },
    };
  }

  #initial({ id, envelope, due, settlement }: Entry, lease: Tenure | undefined): State {
    const { time, newId, epoch } = this.#parts.part;
    const atStore = settlement?.due === undefined ? {} : { due: time.toStore(settlement.due) };
    const row = newRow(
      {
        ...{ id, envelope, due: time.toStore(due), size: contentSize(envelope.content) },
        settlement: settlement && { ...settlement, ...atStore },
      },
      EPOCH_FIRST,
    );
    const born = newId();
    const state = {
      ...{ id, born, version: 0, token: born, due: row.due, epoch: epoch.current },
      held: row.epoch === EPOCH_HELD,
      lease: lease ? { holder: lease.holder, until: time.toStore(lease.until) } : null,
      attempts: row.attempts,
      domain: row.domain,
      progress: row.state,
      size: row.size,
    };
    return { ...state, at: attentionAt(state, time.now()) };
  }

  async #writeOne(mail: Packed, { fresh: isFresh, lease }: WriteOptions): Promise<void> {
    const { part, doubts } = this.#parts;
    const { id } = mail.initial;
    const bytes = encodeMail(mail);
    const marker = markerOf(mail.initial);
    const put = () => part.objects.put(mailKey(id), bytes, isFresh ? undefined : "absent");
    doubts.settled([id]);
    try {
      const version = await part.marks.before(marker, put);
      if (version === undefined && (await this.#isAnother(mail))) {
        part.marks.drop(marker);
        if (mail.apart !== undefined) await release(part.objects, mail.apart.name, id);
        return;
      }
    } catch (error) {
      // Only who made the id for this call knows that nobody else has it.
      if (isFresh) doubts.add([id]);
      throw error;
    }
    part.marks.changed(undefined, marker);
    if (lease !== undefined) this.#remember(mail, bytes);
    else part.wakeUp?.tell([{ id, timestamp: mail.initial.due }]);
  }

  /** The id is taken; whether by another message than this one. */
  async #isAnother({ initial }: Packed): Promise<boolean> {
    const head = await this.#parts.headOf(initial.id);
    // Nobody knows by what: it was just removed, or is just being written.
    if (head === undefined)
      throw new QueueError(`message ${initial.id} cannot be written just now`);
    return head.initial.born !== initial.born;
  }

  /** Whether the message that is there is this one. */
  async #isStored({ initial }: Packed): Promise<boolean> {
    return (await this.#parts.headOf(initial.id))?.initial.born === initial.born;
  }

  async #writeAll(
    mails: readonly Packed[],
    { fresh: isFresh, lease }: WriteOptions,
  ): Promise<void> {
    const { states, outboxes, doubts } = this.#parts;
    const ids = mails.map(({ initial }) => initial.id);
    const group = this.#group(mails);
    doubts.settled(ids);
    const known = await states.create(group).catch((error: unknown) => {
      if (isFresh) doubts.add(ids, nameOf(group));
      throw error;
    });
    // They are stored. If they cannot be messages of their own yet, they are nobody's for now.
    if (!(await outboxes.sendOwn(known, undefined))) return;
    if (lease === undefined) return;
    const stored = await Promise.all(
      mails.map(async (mail) => isFresh === true || (await this.#isStored(mail))),
    );
    for (const [index, mail] of mails.entries()) {
      const bytes = group.outbox?.mails[index];
      if (stored[index] && bytes) this.#remember(mail, bytes);
    }
  }

  /** A state without a message, of whose outbox these are. */
  #group(mails: readonly Packed[]): State {
    const { part, outboxes } = this.#parts;
    const born = part.newId();
    const { id = "", epoch = 0, domain = "" } = mails[0]?.initial ?? {};
    const outbox = outboxes.open(nameOf({ id, born }), (origin) => this.encode(mails, origin));
    const state = {
      ...{ id, born, version: 1, token: part.newId(), due: 0, epoch, held: false, lease: null },
      ...{ attempts: 0, domain, progress: null, size: 0, outbox, isEnded: true as const },
    };
    return { ...state, at: attentionAt(state, part.time.now()) };
  }

  /** What is leased to this node is read and settled by it soon. */
  #remember({ envelope, initial }: Packed, bytes: Uint8Array): void {
    const { part, seen, fresh } = this.#parts;
    const head = withoutPrefix(decodeHead(bytes));
    seen.set(initial.id, { head, state: initial, version: undefined, at: part.time.now() });
    fresh.keep(initial.id, envelope);
  }
}
