import { assert } from "../../lib/assert.ts";
import type { World } from "../../lib/world.ts";
import { type BodySink, contentSize } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { QueueError } from "../../mail/queue-error.ts";
import type { Emit } from "../../observe/events.ts";
import {
  CorruptError,
  type Lease,
  type LeaseOptions,
  type ListQuery,
  LostLeaseError,
  type MessageSummary,
  NotFoundError,
  type QueueStorage,
  type Settlement,
  type SettleOptions,
  type StorageInfo,
  type StoredMessage,
  type WriteOptions,
} from "../storage.ts";
import { type BodyFiles, openBodyFile } from "./body-file.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { CommittedJob, Committer } from "./committer.ts";
import type { SpoolFiles } from "./files.ts";
import type { FreshMessages } from "./fresh.ts";
import { Housekeeping } from "./housekeeping.ts";
import type { Journal } from "./journal.ts";
import type { Layout } from "./layout.ts";
import { LeaseBook } from "./lease-book.ts";
import { quarantine } from "./quarantine.ts";
import { DamagedError, type SegmentReader } from "./reader.ts";
import {
  doneIndexes,
  EPOCH_HELD,
  EPOCH_LEASED,
  newRow,
  progressOf,
  type Row,
  settledRow,
  stateOf,
  summaryOf,
} from "./row.ts";
import { leaseOf, type ScheduleReader } from "./schedule.ts";
import type { Entry } from "./segment-writer.ts";
import type { SpaceWatch } from "./space.ts";
import type { StateDb } from "./state-db.ts";
import { storeError, type Trouble } from "./store-error.ts";

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
  readonly #leases: LeaseBook;
  #epoch: number;
  readonly #housekeeping: Housekeeping;
  #closing: Promise<void> | undefined;

  constructor(parts: DiskParts) {
    this.#parts = parts;
    this.#leases = new LeaseBook();
    this.#housekeeping = new Housekeeping(parts);
    this.#epoch = parts.db.meta("epoch");
  }

  async write(
    envelopes: readonly Envelope[],
    timestamp: number,
    options: WriteOptions = {},
  ): Promise<readonly string[]> {
    const ids = options.ids ?? envelopes.map(() => this.#parts.newId());
    assert(ids.length === envelopes.length, "every envelope has an id");
    const { lease } = options;
    const entries: Entry[] = [];
    for (const [index, envelope] of envelopes.entries()) {
      const id = ids[index] ?? "";
      if (this.#parts.journal.row(id) !== undefined) continue;
      entries.push({ id, envelope, due: timestamp, leased: lease !== undefined });
    }
    if (lease) for (const { id } of entries) this.#leases.take(id, lease.holder, lease.until);
    try {
      await this.#commit(entries);
    } catch (error) {
      for (const { id } of entries) this.#leases.end(id);
      throw error;
    }
    return ids;
  }

  async openBody(): Promise<BodySink> {
    const { files, committer, bodyFiles } = this.#parts;
    try {
      return openBodyFile(files, committer.scratchPath(), bodyFiles);
    } catch (cause) {
      throw storeError("cannot open a scratch file", cause);
    }
  }

  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    const { journal } = this.#parts;
    if (options.holder !== undefined && !this.#leases.isHeld(id, options.holder)) {
      throw new LostLeaseError(`message ${id} is not leased to ${options.holder}`);
    }
    this.#require(id);
    const bounces = options.bounces ?? [];
    const [first, ...others] = bounces.filter((bounce) => journal.row(bounce.id) === undefined);
    if (first === undefined) {
      this.#apply(id, settlement, options.holder !== undefined);
      await journal.durable();
      return;
    }
    // The rename that stores the notification is the settlement too (P4): nothing can come between them.
    const due = this.#parts.world.clock.now();
    const carrier: Entry = { ...first, due, settles: { id, settlement } };
    await this.#commit([carrier, ...others.map((bounce) => ({ ...bounce, due }))]);
    if (options.holder !== undefined) this.#endLease(id);
  }

  async setTimestamp(id: string, timestamp: number): Promise<void> {
    await this.settle(id, { due: timestamp });
  }

  async incrementAttempts(id: string): Promise<number> {
    const attempts = this.#require(id).attempts + 1;
    await this.settle(id, { attempts });
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
    const row = this.#require(id);
    const envelope = this.#parts.fresh.get(id) ?? (await this.#read(row));
    const progress = progressOf(row);
    const done = doneIndexes(progress);
    const pending = envelope.recipients.filter(({ index }) => !done.has(index));
    return {
      id,
      envelope: done.size === 0 ? envelope : { ...envelope, recipients: pending },
      attempts: row.attempts,
      due: row.due,
      state: stateOf(row),
      delayNotified: progress.delayNotified,
      recipientCount: row.recipientCount,
      recipients: progress.recipients,
    };
  }

  async remove(id: string): Promise<void> {
    const row = this.#parts.journal.row(id);
    if (row === undefined) return;
    this.#replace(row, null);
    this.#leases.end(id);
    await this.#parts.journal.durable();
  }

  async lease(now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    const { journal, schedule, db } = this.#parts;
    this.#expireLeases(now);
    journal.apply();
    const rows = schedule.due({ epoch: this.#epoch, now, limit, ...options });
    if (rows.length === 0) return [];
    db.transaction(() => db.lease(rows.map((row) => row.id)));
    journal.countLeased(rows);
    for (const { id } of rows) this.#leases.take(id, options.holder, options.until);
    return rows.map(leaseOf);
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    for (const id of ids) {
      if (this.#leases.isHeld(id, holder)) this.#leases.take(id, holder, until);
    }
  }

  async release(ids: readonly string[], holder: string): Promise<void> {
    for (const id of ids) if (this.#leases.isHeld(id, holder)) this.#endLease(id);
  }

  async nextDue(): Promise<number | null> {
    this.#expireLeases(this.#parts.world.clock.now());
    this.#parts.journal.apply();
    return this.#parts.db.earliestDue(this.#epoch) ?? null;
  }

  async flush(): Promise<number> {
    const { db, journal } = this.#parts;
    this.#epoch += 1;
    db.transaction(() => db.setMeta("epoch", this.#epoch));
    const { incoming, deferred } = journal.states();
    return incoming + deferred;
  }

  async setHeld(id: string, held: boolean): Promise<boolean> {
    const row = this.#require(id);
    if ((row.epoch === EPOCH_HELD) === held) return false;
    const due = held ? row.due : this.#parts.world.clock.now();
    this.#replace(row, { ...row, due, epoch: held ? EPOCH_HELD : this.#waitingEpoch(id) });
    await this.#parts.journal.durable();
    return true;
  }

  async list(query: ListQuery): Promise<readonly MessageSummary[]> {
    this.#parts.journal.apply();
    return this.#parts.db.page(query, query.limit).map(summaryOf);
  }

  async getInfo(): Promise<StorageInfo> {
    const { db, journal } = this.#parts;
    journal.apply();
    const states = journal.states();
    return {
      size: states.incoming + states.active + states.deferred + states.hold,
      states,
      bytes: journal.bytes(),
      oldestAt: db.oldest() ?? null,
      corrupt: db.meta("corrupt"),
    };
  }

  async wait(): Promise<null> {
    return null;
  }

  refusal(): string | undefined {
    return this.#parts.trouble.reason ?? this.#parts.space.refusal();
  }

  async probe(): Promise<void> {
    const { files, committer, trouble, space } = this.#parts;
    if (trouble.reason !== undefined) throw new QueueError(trouble.reason);
    await space.measure();
    const refusal = space.refusal();
    if (refusal !== undefined) throw new QueueError(refusal);
    const path = committer.scratchPath();
    const fd = files.create(path);
    try {
      files.append(fd, new Uint8Array(1));
      await files.syncData(fd);
    } finally {
      files.close(fd);
      await files.unlink(path);
    }
  }

  /** Copies mostly dead segments together until nothing more is worth it; the engine does so by itself now and then. */
  async compact(): Promise<void> {
    await this.#housekeeping.compact();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Called by the committer in the turn in which a segment became durable, before anybody hears of it. */
  onSegment(number: number, bytes: number, jobs: readonly CommittedJob[]): void {
    this.#parts.journal.addSegment(number, bytes);
    for (const { entries, places, kind } of jobs) {
      for (const [index, entry] of entries.entries()) {
        const place = places[index];
        assert(place !== undefined, "every entry has a place");
        if (kind === "copies") this.#moveRow(entry.id, place);
        else this.#addRow(entry, place);
      }
    }
  }

  #addRow(entry: Entry, place: { segment: number; offset: number; length: number }): void {
    const epoch = entry.leased ? EPOCH_LEASED : this.#epoch;
    const size = contentSize(entry.envelope.content);
    this.#parts.journal.add(newRow({ ...entry, size }, place, epoch));
    if (entry.leased) this.#parts.fresh.keep(entry.id, entry.envelope);
    if (entry.settles && this.#parts.journal.row(entry.settles.id) !== undefined) {
      this.#apply(entry.settles.id, entry.settles.settlement, true);
    }
  }

  #moveRow(id: string, place: { segment: number; offset: number; length: number }): void {
    const row = this.#parts.journal.row(id);
    if (row !== undefined && row.segment < place.segment) this.#parts.journal.move(row, place);
  }

  async #commit(entries: readonly Entry[]): Promise<void> {
    if (entries.length === 0) return;
    try {
      await this.#parts.committer.commit(entries);
    } catch (cause) {
      throw storeError("cannot store the message", cause);
    }
  }

  #require(id: string): Row {
    const row = this.#parts.journal.row(id);
    if (row === undefined) throw new NotFoundError(`no message ${id}`);
    return row;
  }

  #apply(id: string, settlement: Settlement, endsLease: boolean): void {
    const row = this.#require(id);
    if (endsLease) this.#leases.end(id);
    this.#replace(row, settledRow(row, settlement, this.#waitingEpoch(id)));
  }

  #replace(row: Row, next: Row | null): void {
    this.#parts.journal.replace(row, next);
    if (next?.epoch !== EPOCH_LEASED) this.#parts.fresh.drop(row.id);
    if (next === null) this.#housekeeping.noteEnded();
  }

  /** Whoever is leased stays invisible, whatever else is changed. */
  #waitingEpoch(id: string): number {
    return this.#leases.has(id) ? EPOCH_LEASED : this.#epoch;
  }

  #endLease(id: string): void {
    if (!this.#leases.end(id)) return;
    const row = this.#parts.journal.row(id);
    if (row?.epoch === EPOCH_LEASED) this.#replace(row, { ...row, epoch: this.#epoch });
  }

  #expireLeases(now: number): void {
    for (const id of this.#leases.expired(now)) this.#endLease(id);
  }

  async #read(row: Row): Promise<Envelope> {
    try {
      return await this.#parts.reader.read(row);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw storeError("cannot read the message", error);
      return await this.#moveAside(row, error);
    }
  }

  /** P6: the damaged message leaves the queue for `corrupt/`, and everything else goes on. */
  async #moveAside(row: Row, error: DamagedError): Promise<never> {
    // Compaction may have moved it while it was read.
    const known = this.#parts.journal.row(row.id);
    if (known !== undefined && known.segment !== row.segment) {
      throw new QueueError(`message ${row.id} moved while it was read; try again`);
    }
    if (known !== undefined) {
      const { db } = this.#parts;
      const facts = { ...known, sender: known.sender };
      const damage = { subject: row.id, segment: row.segment, reason: error.message, facts };
      await quarantine(damage, this.#parts);
      db.setMeta("corrupt", db.meta("corrupt") + 1);
      await this.remove(row.id);
    }
    throw new CorruptError(`message ${row.id} is damaged: ${error.message}`, { cause: error });
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
