import { assert } from "../../lib/assert.ts";
import type { World } from "../../lib/world.ts";
import type { BodySink } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { QueueError } from "../../mail/queue-error.ts";
import type { Emit } from "../../observe/events.ts";
import { adoptBodies } from "../adopt-bodies.ts";
import type { FreshMessages } from "../fresh.ts";
import { InFlight } from "../in-flight.ts";
import {
  EPOCH_FIRST,
  leaseOf,
  newRow,
  numbered,
  storedMessage,
  summaryOf,
} from "../message-row.ts";
import { requireStorable } from "../record.ts";
import {
  CorruptError,
  type Lease,
  type LeaseOptions,
  type ListQuery,
  type MessageSummary,
  type QueueStorage,
  type Settlement,
  type SettleOptions,
  type StorageInfo,
  type StoredMessage,
  type WriteOptions,
} from "../storage.ts";
import { DamagedError, storeError } from "../store-error.ts";
import { type BodyFiles, openBodyFile } from "./body-file.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { CommittedJob, Committer } from "./committer.ts";
import type { SpoolFiles } from "./files.ts";
import { Housekeeping } from "./housekeeping.ts";
import type { Journal } from "./journal.ts";
import type { Layout } from "./layout.ts";
import { Ledger } from "./ledger.ts";
import { probeSpool } from "./probe.ts";
import { keepEvidence, tellDamage } from "./quarantine.ts";
import type { SegmentReader } from "./reader.ts";
import type { Row } from "./row.ts";
import type { ScheduleReader } from "./schedule.ts";
import { saltOf } from "./segment.ts";
import type { Entry } from "./segment-writer.ts";
import type { SpaceWatch } from "./space.ts";
import type { StateDb } from "./state-db.ts";
import type { Trouble } from "./trouble.ts";

/** What `openDiskStorage` has opened, in the order in which it has to be closed. */
export interface DiskParts {
  readonly world: World;
  readonly emit: Emit;
  readonly newId: () => string;
  readonly files: SpoolFiles;
  readonly layout: Layout;
  readonly db: StateDb;
  readonly journal: Journal;
  readonly checkpointer: Checkpointer;
  readonly committer: Committer;
  readonly bodyFiles: BodyFiles;
  readonly reader: SegmentReader;
  readonly schedule: ScheduleReader;
  readonly space: SpaceWatch;
  readonly fresh: FreshMessages;
  readonly trouble: Trouble;
  readonly unlock: () => void;
}

const PAGE = 500;

/** The disk engine (design §5): immutable segments for content, queue.db for state, one process at a time. */
export class DiskStorage implements QueueStorage {
  readonly #parts: DiskParts;
  readonly #ledger: Ledger;
  readonly #housekeeping: Housekeeping;
  /** Messages on their way into a segment. */
  readonly #writing = new InFlight();
  /** Messages whose settlement is on its way into a segment, carried by a bounce. */
  readonly #settling = new InFlight();
  readonly #movingAside = new InFlight();
  #closing: Promise<void> | undefined;

  constructor(parts: DiskParts) {
    this.#parts = parts;
    this.#housekeeping = new Housekeeping(parts);
    this.#ledger = new Ledger({
      ...parts,
      clock: parts.world.clock,
      onEnded: () => this.#housekeeping.noteEnded(),
      isSettling: (id) => this.#settling.has(id),
    });
  }

  async write(
    envelopes: readonly Envelope[],
    timestamp: number,
    options: WriteOptions = {},
  ): Promise<readonly string[]> {
    const ids = options.ids ?? envelopes.map(() => this.#parts.newId());
    assert(ids.length === envelopes.length, "every envelope has an id");
    const adopted = await adoptBodies(envelopes, this.#parts.bodyFiles, () => this.openBody());
    try {
      this.#requireOpen();
      while (this.#writing.has(...ids)) await this.#writing.change(ids);
      const entries = new Map<string, Entry>();
      for (const [index, envelope] of adopted.envelopes.entries()) {
        const id = ids[index] ?? "";
        const { fresh = false } = options;
        if (entries.has(id) || (!fresh && this.#ledger.find(id) !== undefined)) continue;
        const entry = entryOf(id, envelope, timestamp);
        entries.set(id, { ...entry, ...comesWith(entry, options) });
      }
      await this.#commit([...entries.values()]);
    } finally {
      await adopted.discard();
    }
    return ids;
  }

  async openBody(): Promise<BodySink> {
    this.#requireOpen();
    const { files, committer, bodyFiles, world } = this.#parts;
    const file = { path: committer.scratchPath(), salt: saltOf(world.random()) };
    try {
      return await openBodyFile(files, file, bodyFiles);
    } catch (cause) {
      throw storeError("cannot open a scratch file", cause);
    }
  }

  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    const { holder, bounces = [] } = options;
    const bounceIds = bounces.map((bounce) => bounce.id);
    while (this.#settling.has(id) || this.#writing.has(...bounceIds)) {
      await this.#settling.change([id]);
      await this.#writing.change(bounceIds);
    }
    this.#requireOpen();
    const row = this.#ledger.require(id);
    const endsLease = holder !== undefined;
    if (endsLease) this.#ledger.requireLease(id, holder);
    const isNew = (bounce: { id: string }): boolean => this.#ledger.find(bounce.id) === undefined;
    const due = this.#parts.world.clock.now();
    const entries = bounces.filter(isNew).map((bounce) => entryOf(bounce.id, bounce.envelope, due));
    const [first, ...others] = entries;
    if (first === undefined) {
      this.#ledger.settle(row, settlement, endsLease);
      await this.#parts.journal.durable();
      return;
    }
    // The rename that stores the notification is the settlement too (P4): nothing can come between them.
    const carrier = { ...first, settles: { id, settlement }, endsLease };
    await this.#settling.run([id], () => this.#commit([carrier, ...others]));
  }

  async setTimestamp(id: string, timestamp: number): Promise<void> {
    await this.settle(id, { due: timestamp });
  }

  async incrementAttempts(id: string): Promise<number> {
    this.#requireOpen();
    while (this.#settling.has(id)) await this.#settling.change([id]);
    const row = this.#ledger.require(id);
    const attempts = row.attempts + 1;
    this.#ledger.settle(row, { attempts }, false);
    await this.#parts.journal.durable();
    return attempts;
  }

  async setRecipientsDelivered(id: string, indexes: readonly number[]): Promise<void> {
    const recipients = indexes.map((index) => ({ index, status: "delivered" as const }));
    await this.settle(id, { recipients });
  }

  async *load(): AsyncGenerator<{ readonly timestamp: number; readonly id: string }> {
    let after = "";
    while (true) {
      const page = await this.list({ after, limit: PAGE });
      for (const { id, due } of page) yield { timestamp: due, id };
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.id;
    }
  }

  async get(id: string): Promise<StoredMessage> {
    this.#requireOpen();
    const row = this.#ledger.require(id);
    const fresh = this.#parts.fresh.get(id);
    if (fresh !== undefined) return storedMessage(row, fresh);
    const envelope = await this.#read(row);
    // What was read does not change; what is known of it may have.
    return storedMessage(this.#ledger.requireWith(id, envelope.recipients.length), envelope);
  }

  async remove(id: string): Promise<void> {
    this.#requireOpen();
    while (this.#settling.has(id)) await this.#settling.change([id]);
    this.#ledger.forget(id);
    // Also when it is gone already: perhaps not durably yet.
    await this.#parts.journal.durable();
  }

  async lease(now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    this.#requireOpen();
    return this.#ledger.lease(now, limit, options).map(leaseOf);
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    this.#requireOpen();
    this.#ledger.renew(ids, holder, until);
  }

  async release(ids: readonly string[], holder: string): Promise<void> {
    this.#requireOpen();
    this.#ledger.release(ids, holder);
  }

  async nextDue(): Promise<number | null> {
    this.#requireOpen();
    this.#ledger.expire(this.#parts.world.clock.now());
    return this.#ledger.nextDue();
  }

  async flush(): Promise<number> {
    this.#requireOpen();
    return this.#ledger.flush();
  }

  async setHeld(id: string, held: boolean): Promise<boolean> {
    this.#requireOpen();
    while (this.#settling.has(id)) await this.#settling.change([id]);
    const changed = this.#ledger.hold(id, held);
    // Also when it was so already: perhaps not durably yet.
    await this.#parts.journal.durable();
    return changed;
  }

  async list(query: ListQuery): Promise<readonly MessageSummary[]> {
    this.#requireOpen();
    this.#parts.journal.apply();
    return this.#parts.db.page(query, query.limit).map(summaryOf);
  }

  async getInfo(): Promise<StorageInfo> {
    this.#requireOpen();
    const { db, journal } = this.#parts;
    journal.apply();
    const states = journal.states();
    return {
      size: states.incoming + states.active + states.deferred + states.hold,
      states,
      bytes: journal.bytes(),
      oldestAt: db.oldest() ?? null,
      corrupt: journal.corrupt(),
    };
  }

  async wait(): Promise<null> {
    return null;
  }

  refusal(): string | undefined {
    if (this.#closing !== undefined) return "the store is closed";
    return this.#parts.trouble.reason ?? this.#parts.space.refusal();
  }

  async probe(): Promise<void> {
    this.#requireOpen();
    await probeSpool(this.#parts);
  }

  /** Copies mostly dead segments together until nothing more is worth it; the engine does so by itself now and then. */
  async compact(): Promise<void> {
    await this.#housekeeping.compact();
  }

  /** Removes segment files that no row needs; the engine does so by itself after a start, in the background. */
  async sweepOrphans(): Promise<void> {
    await this.#housekeeping.sweepOrphans();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /**
   * Called by the committer for each job of a segment that has become durable, in the same turn and before anybody hears
   * of it. It may throw, since it looks a settlement's message up; then nothing of the job counts as stored.
   */
  onJob({ entries, places, kind }: CommittedJob): void {
    const carrier = entries.find(({ id, settles }) => settles !== undefined && settles.id !== id);
    const target = carrier?.settles && this.#ledger.find(carrier.settles.id);
    for (const [index, entry] of entries.entries()) {
      const place = places[index];
      assert(place !== undefined, "every entry has a place");
      if (kind === "copies") this.#ledger.moved(entry, place);
      else this.#ledger.arrived(entry, place);
    }
    if (target && carrier?.settles) {
      this.#ledger.settle(target, carrier.settles.settlement, carrier.endsLease ?? false);
    }
  }

  /** Called while a large body is streamed and turns out to be damaged. */
  onDamage(id: string, error: DamagedError): void {
    const row = this.#parts.journal.row(id);
    if (row !== undefined) this.#moveAside(row, error).catch(() => undefined);
  }

  async #commit(entries: readonly Entry[]): Promise<void> {
    if (entries.length === 0) return;
    this.#requireOpen();
    const ids = entries.map(({ id }) => id);
    try {
      await this.#writing.run(ids, () => this.#parts.committer.commit(entries));
    } catch (cause) {
      throw storeError("cannot store the message", cause);
    }
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new QueueError("the store is closed");
  }

  async #read(row: Row): Promise<Envelope> {
    try {
      return await this.#parts.reader.read(row);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw storeError("cannot read the message", error);
      await this.#moveAside(row, error);
      throw new CorruptError(`message ${row.id} is damaged: ${error.message}`, { cause: error });
    }
  }

  /** P6: the damaged message leaves the queue for `corrupt/` as soon as the disk can take it, and everything else goes on. */
  async #moveAside(row: Row, error: DamagedError): Promise<void> {
    const { id, segment } = row;
    while (this.#movingAside.has(id)) await this.#movingAside.change([id]);
    const known = this.#ledger.find(id);
    if (known === undefined) return;
    // Compaction may have moved it while it was read.
    if (known.segment !== segment) {
      throw new QueueError(`message ${id} moved while it was read; try again`);
    }
    const damage = { subject: id, segment, reason: error.message, facts: { ...known } };
    await this.#movingAside.run([id], () => keepEvidence(damage, this.#parts));
    tellDamage(damage, this.#parts);
    // A sick database must not hold up whoever reads: without it the message is moved aside once more after a restart.
    this.#ledger.forget(id);
  }

  async #close(): Promise<void> {
    const { committer, journal, checkpointer, reader, db, unlock } = this.#parts;
    await committer.idle();
    await this.#housekeeping.stop();
    await journal.close();
    await checkpointer.close();
    reader.close();
    db.close();
    unlock();
  }
}

/** A record that settles itself says all that is known of its message, also to a start that finds no row for it. */
function comesWith(entry: Entry, { lease, settlement }: WriteOptions): Partial<Entry> {
  if (settlement === undefined) return lease ? { lease } : {};
  // Refuses what would leave nobody pending before it is in a segment.
  newRow({ ...entry, size: 0, settlement }, EPOCH_FIRST);
  return { ...(lease && { lease }), settles: { id: entry.id, settlement } };
}

/** What could not be read back is not taken (P1). */
function entryOf(id: string, envelope: Envelope, due: number): Entry {
  requireStorable(id, envelope);
  return { id, envelope: numbered(envelope), due };
}
