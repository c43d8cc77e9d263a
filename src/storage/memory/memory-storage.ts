import { assert } from "../../lib/assert.ts";
import { idMaker } from "../../lib/id.ts";
import type { World } from "../../lib/world.ts";
import { type BodySink, contentSize, type SourceBody } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { adoptBodies } from "../adopt-bodies.ts";
import { LeaseBook } from "../lease-book.ts";
import {
  EPOCH_FIRST,
  EPOCH_HELD,
  EPOCH_LEASED,
  leasedRow,
  leaseOf,
  type MessageRow,
  newRow,
  numbered,
  settledRow,
  stateOf,
  storedMessage,
  summaryOf,
} from "../message-row.ts";
import { requireStorable } from "../record.ts";
import {
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
import { openMemoryBody } from "./memory-body.ts";

/** Of the memory engine. */
export interface MemoryStorageOptions {
  /** Octets that one streamed body may have. */
  readonly bodyBytesMax: number;
}

/** As much of a `Map` as is needed here: anything like it will do, as with the parent's dictionaries. */
export interface MapLike<V> {
  /** The value under a key. */
  get(key: string): V | undefined;
  /** Keeps a value under a key; what it returns is ignored. */
  set(key: string, value: V): unknown;
  /** Forgets a key; whether there was one. */
  delete(key: string): boolean;
  /** All values, in any order, as they are at this moment. */
  values(): Iterable<V>;
}

export interface MemoryStorageParts {
  readonly world: World;
  /** The parent's `env_db`; a `Map` of its own without it. */
  readonly envelopes?: MapLike<Envelope>;
  /** The parent's `meta_db`. */
  readonly meta?: MapLike<MessageRow>;
}

/**
 * The parent's `DictStorage`: everything in two maps, for tests and for mail that may be lost. It keeps the whole
 * contract but durability: what it stores is gone with the process, unless the maps outlive it. Listing, counting and
 * leasing take time in proportion to what is stored.
 */
export function openMemoryStorage(
  options: MemoryStorageOptions,
  parts: MemoryStorageParts,
): QueueStorage {
  return new MemoryStorage(options, parts);
}

class MemoryStorage implements QueueStorage {
  readonly #world: World;
  readonly #bodyBytesMax: number;
  readonly #envelopes: MapLike<Envelope>;
  readonly #meta: MapLike<MessageRow>;
  readonly #newId: () => string;
  readonly #leases = new LeaseBook();
  readonly #bodies = new WeakSet<SourceBody>();
  #epoch = EPOCH_FIRST;
  #closed = false;

  constructor({ bodyBytesMax }: MemoryStorageOptions, parts: MemoryStorageParts) {
    const { world, envelopes = new Map<string, Envelope>() } = parts;
    this.#world = world;
    this.#bodyBytesMax = bodyBytesMax;
    this.#envelopes = envelopes;
    this.#meta = parts.meta ?? new Map<string, MessageRow>();
    this.#newId = idMaker(world.clock.now, world.random);
    const rows = [...this.#meta.values()];
    for (const { epoch } of rows)
      if (epoch < EPOCH_LEASED && epoch > this.#epoch) this.#epoch = epoch;
    // Leases ended with whoever had these maps before.
    for (const row of rows.filter((one) => one.epoch === EPOCH_LEASED)) {
      this.#meta.set(row.id, { ...row, epoch: this.#epoch });
    }
  }

  async write(
    envelopes: readonly Envelope[],
    timestamp: number,
    options: WriteOptions = {},
  ): Promise<readonly string[]> {
    const ids = options.ids ?? envelopes.map(() => this.#newId());
    assert(ids.length === envelopes.length, "every envelope has an id");
    const adopted = await adoptBodies(envelopes, this.#bodies, () => this.openBody());
    this.#requireOpen();
    const adds = adopted.envelopes.map((envelope, index) => {
      return this.#addition(ids[index] ?? "", envelope, timestamp, options);
    });
    for (const add of adds) add();
    return ids;
  }

  async openBody(): Promise<BodySink> {
    this.#requireOpen();
    return openMemoryBody(this.#bodyBytesMax, this.#bodies);
  }

  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    const { holder, bounces = [] } = options;
    this.#requireOpen();
    const row = this.#require(id);
    const adds = bounces.map((bounce) => this.#addition(bounce.id, bounce.envelope, this.#now()));
    if (holder !== undefined) {
      if (!this.#leases.isHeld(id, holder, this.#now())) {
        throw new LostLeaseError(`message ${id} is not leased to ${holder}`);
      }
      this.#leases.end(id);
    }
    for (const add of adds) add();
    this.#replace(row, settledRow(row, settlement, this.#waitingEpoch(id)));
  }

  async setTimestamp(id: string, timestamp: number): Promise<void> {
    await this.settle(id, { due: timestamp });
  }

  async incrementAttempts(id: string): Promise<number> {
    this.#requireOpen();
    const attempts = this.#require(id).attempts + 1;
    await this.settle(id, { attempts });
    return attempts;
  }

  async setRecipientsDelivered(id: string, indexes: readonly number[]): Promise<void> {
    const recipients = indexes.map((index) => ({ index, status: "delivered" as const }));
    await this.settle(id, { recipients });
  }

  async *load(): AsyncGenerator<{ readonly timestamp: number; readonly id: string }> {
    this.#requireOpen();
    for (const { id, due } of [...this.#meta.values()]) yield { timestamp: due, id };
  }

  async get(id: string): Promise<StoredMessage> {
    this.#requireOpen();
    const envelope = this.#envelopes.get(id);
    const row = this.#require(id);
    assert(envelope !== undefined, "what has a state has an envelope");
    return storedMessage(row, envelope);
  }

  async remove(id: string): Promise<void> {
    this.#requireOpen();
    const row = this.#meta.get(id);
    if (row !== undefined) this.#replace(row, null);
  }

  async lease(now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    this.#requireOpen();
    const { holder, until, skip = () => false, timelyOnly = false } = options;
    this.#expireLeases(now);
    const leased: Lease[] = [];
    const skipped = new Set<string>();
    for (const row of this.#due(now, timelyOnly)) {
      if (leased.length >= limit) break;
      if (skipped.has(row.domain)) continue;
      if (skip(row.domain)) {
        skipped.add(row.domain);
        continue;
      }
      const next = leasedRow(row, now);
      this.#leases.take(row.id, holder, until);
      this.#meta.set(row.id, next);
      leased.push(leaseOf(next));
    }
    return leased;
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    this.#requireOpen();
    for (const id of ids) {
      if (this.#leases.isHeld(id, holder, this.#now())) this.#leases.take(id, holder, until);
    }
  }

  async release(ids: readonly string[], holder: string): Promise<void> {
    this.#requireOpen();
    for (const id of ids) {
      if (this.#leases.isHeld(id, holder, this.#now())) this.#endLease(id);
    }
  }

  async nextDue(): Promise<number | null> {
    this.#requireOpen();
    this.#expireLeases(this.#now());
    let earliest: number | null = null;
    for (const { epoch, due } of this.#meta.values()) {
      if (epoch > this.#epoch) continue;
      // Whoever waits in an older epoch was flushed and is due at once.
      const at = epoch < this.#epoch ? 0 : due;
      if (earliest === null || at < earliest) earliest = at;
    }
    return earliest;
  }

  async flush(): Promise<number> {
    this.#requireOpen();
    this.#epoch += 1;
    return [...this.#meta.values()].filter(({ epoch }) => epoch < EPOCH_LEASED).length;
  }

  async setHeld(id: string, held: boolean): Promise<boolean> {
    this.#requireOpen();
    const row = this.#require(id);
    if ((row.epoch === EPOCH_HELD) === held) return false;
    const due = held ? row.due : this.#now();
    this.#meta.set(id, { ...row, due, epoch: held ? EPOCH_HELD : this.#waitingEpoch(id) });
    return true;
  }

  async list(query: ListQuery): Promise<readonly MessageSummary[]> {
    this.#requireOpen();
    const found = this.#inOrder().filter((row) => agrees(row, query));
    return found.slice(0, query.limit).map(summaryOf);
  }

  async getInfo(): Promise<StorageInfo> {
    this.#requireOpen();
    const rows = this.#inOrder();
    const states = { incoming: 0, active: 0, deferred: 0, hold: 0 };
    let bytes = 0;
    for (const row of rows) {
      states[stateOf(row)] += 1;
      bytes += row.size;
    }
    return { size: rows.length, states, bytes, oldestAt: rows[0]?.receivedAt ?? null, corrupt: 0 };
  }

  async wait(): Promise<null> {
    return null;
  }

  refusal(): string | undefined {
    return this.#closed ? "the store is closed" : undefined;
  }

  async probe(): Promise<void> {
    this.#requireOpen();
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** What adds a message, if nobody has its id then. */
  #addition(
    id: string,
    given: Envelope,
    due: number,
    { lease, settlement }: WriteOptions = {},
  ): () => void {
    requireStorable(id, given);
    const envelope = numbered(given);
    const size = contentSize(envelope.content);
    const epoch = lease ? EPOCH_LEASED : this.#epoch;
    const row = newRow({ id, envelope, due, size, settlement }, epoch);
    return () => {
      if (this.#meta.get(id) !== undefined) return;
      this.#envelopes.set(id, envelope);
      this.#meta.set(id, row);
      if (lease) this.#leases.take(id, lease.holder, lease.until);
    };
  }

  #replace({ id }: MessageRow, next: MessageRow | null): void {
    if (next !== null) {
      this.#meta.set(id, next);
      return;
    }
    this.#meta.delete(id);
    this.#envelopes.delete(id);
    this.#leases.end(id);
  }

  #require(id: string): MessageRow {
    const row = this.#meta.get(id);
    if (row === undefined) throw new NotFoundError(`no message ${id}`);
    return row;
  }

  #requireOpen(): void {
    if (this.#closed) throw new QueueError("the store is closed");
  }

  #due(now: number, timelyOnly: boolean): readonly MessageRow[] {
    const isDue = ({ epoch, due }: MessageRow): boolean =>
      epoch < this.#epoch ? !timelyOnly : epoch === this.#epoch && due <= now;
    return [...this.#meta.values()].filter(isDue).sort((left, right) => left.due - right.due);
  }

  #inOrder(): readonly MessageRow[] {
    return [...this.#meta.values()].sort((left, right) => (left.id < right.id ? -1 : 1));
  }

  /** Whoever is leased stays invisible, whatever else is changed. */
  #waitingEpoch(id: string): number {
    return this.#leases.has(id) ? EPOCH_LEASED : this.#epoch;
  }

  #endLease(id: string): void {
    if (!this.#leases.end(id)) return;
    const row = this.#meta.get(id);
    if (row?.epoch === EPOCH_LEASED) this.#meta.set(id, { ...row, epoch: this.#epoch });
  }

  #expireLeases(now: number): void {
    for (const id of this.#leases.expired(now)) this.#endLease(id);
  }

  #now(): number {
    return this.#world.clock.now();
  }
}

function agrees(row: MessageRow, { after = "", state, domain, sender }: ListQuery): boolean {
  return (
    row.id > after &&
    (state === undefined || stateOf(row) === state) &&
    (domain === undefined || row.domain === domain.toLowerCase()) &&
    (sender === undefined || row.sender.toLowerCase() === sender.toLowerCase())
  );
}
