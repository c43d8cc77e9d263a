import type { Clock } from "../../lib/world.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { EPOCH_HELD, EPOCH_LEASED, type MessageRow } from "../message-row.ts";
import type { MessageState } from "../storage.ts";
import type { Row } from "./row.ts";
import type { StateDb } from "./state-db.ts";

/**
 * How long a settlement may wait for others to share its sync while the store is busy: the window in which a power cut
 * can repeat a delivery (P5). An idle store settles at once.
 */
export const SETTLE_WINDOW_MS = 20;
/** After a failed batch. */
const RETRY_MS = 500;

/** What the segments of a batch gained or lost. */
export interface SegmentChange {
  live: number;
  liveBytes: number;
  /** Set for a segment that queue.db does not know yet: its size on disk. */
  bytes?: number;
}

export interface JournalParts {
  readonly db: () => StateDb;
  /** Called after each transaction with the number of rows that it wrote. */
  readonly onApplied: (rows: number) => void;
  /** Makes the write-ahead file durable. */
  readonly sync: () => Promise<void>;
  /** Called after a durable batch with the segments in which nothing lives any more. */
  readonly onDead: (segments: readonly number[]) => void;
  /** A batch failed, or works again; the journal goes on trying by itself. */
  readonly onTrouble: (error: unknown) => void;
  readonly onRecovered: () => void;
  readonly clock: Clock;
}

interface Dirty {
  /** `null`: the message is gone. */
  readonly row: Row | null;
  /** queue.db has a row of it. */
  readonly stored: boolean;
}

/** Counts of what is stored, leased or not, and of damage; kept in queue.db, so that a start needs not count. */
interface Counters {
  incoming: number;
  deferred: number;
  hold: number;
  bytes: number;
  corrupt: number;
}

/**
 * State changes on their way to queue.db. Every change is visible at once through `row`, and becomes durable with the
 * next batch: one transaction, one sync. A message that is accepted and finished between two batches never
 * touches the database; its segment alone is the record of it.
 */
export class Journal {
  readonly #parts: JournalParts;
  readonly #counters: Counters;
  readonly #leased = { incoming: 0, deferred: 0 };
  readonly #dirty = new Map<string, Dirty>();
  readonly #segments = new Map<number, SegmentChange>();
  /** Every segment up to this number is known to queue.db, or has ended. */
  #indexed: number;
  #waiters: PromiseWithResolvers<void>[] = [];
  /** Segments whose files may go after the next sync. */
  #dead: number[] = [];
  #cancelTimer: (() => void) | undefined;
  #batch: Promise<void> | undefined;
  /** Damage that was counted is in queue.db. */
  #isCounted = true;
  #failing = false;
  #closed = false;
  #lastBatchAt = 0;

  constructor(parts: JournalParts) {
    this.#parts = parts;
    const db = parts.db();
    this.#indexed = db.meta("indexed");
    this.#counters = {
      incoming: db.meta("incoming"),
      deferred: db.meta("deferred"),
      hold: db.meta("hold"),
      bytes: db.meta("bytes"),
      corrupt: db.meta("corrupt"),
    };
  }

  /** What is known of a message, durable or about to be. */
  row(id: string): Row | undefined {
    const entry = this.#dirty.get(id);
    return entry === undefined ? this.#parts.db().row(id) : (entry.row ?? undefined);
  }

  /** A message that a segment has just made durable. */
  add(row: Row): void {
    this.#count(row, 1);
    this.#live(row, 1);
    // Its id may have been used before, by a message whose end queue.db has not heard of yet.
    this.#mark(row.id, row, this.#dirty.get(row.id)?.stored ?? false);
  }

  /** Changes or, with `null`, forgets a message. */
  replace(row: Row, next: Row | null): void {
    this.#count(row, -1);
    if (next === null) this.#live(row, -1);
    else this.#count(next, 1);
    this.#mark(row.id, next, this.#isStored(row.id));
  }

  /** A message's bytes were copied to another segment. */
  move(row: Row, to: Pick<Row, "segment" | "offset" | "length">): void {
    const moved = { ...row, ...to };
    this.#live(row, -1);
    this.#live(moved, 1);
    this.#mark(row.id, moved, this.#isStored(row.id));
  }

  /** A segment was renamed into place, with its size; all its rows are added in the same turn. */
  addSegment(number: number, bytes: number): void {
    this.#change(number).bytes = bytes;
    this.#indexed = Math.max(this.#indexed, number);
    this.#schedule();
  }

  /** Rows that were leased inside queue.db, past the journal. */
  countLeased(rows: readonly Row[]): void {
    for (const row of rows) this.#leased[triedOrNot(row)] += 1;
  }

  /** Resolves when everything so far is durable; rejects only when the journal closes before that. */
  durable(): Promise<void> {
    if (this.#closed) return Promise.reject(new QueueError("the store is closed"));
    const waiter = Promise.withResolvers<void>();
    this.#waiters.push(waiter);
    this.#schedule();
    return waiter.promise;
  }

  /** Brings queue.db up to date without waiting for the disk, so that it can be asked. One transaction: all or nothing. */
  apply(): void {
    if (this.#dirty.size === 0 && this.#segments.size === 0 && this.#isCounted) return;
    const db = this.#parts.db();
    const emptied: number[] = [];
    db.transaction(() => {
      for (const [id, entry] of this.#dirty) {
        if (entry.row === null) db.delete(id);
        else db.put(entry.row);
      }
      for (const [number, change] of this.#segments) applySegment(db, number, change, emptied);
      db.setMeta("indexed", this.#indexed);
      for (const [key, value] of Object.entries(this.#counters)) {
        db.setMeta(key as keyof Counters, value);
      }
    });
    const rows = this.#dirty.size + this.#segments.size;
    this.#dirty.clear();
    this.#segments.clear();
    this.#isCounted = true;
    this.#dead.push(...emptied);
    this.#parts.onApplied(rows);
  }

  states(): Readonly<Record<MessageState, number>> {
    const { incoming, deferred } = this.#leased;
    return {
      incoming: this.#counters.incoming - incoming,
      active: incoming + deferred,
      deferred: this.#counters.deferred - deferred,
      hold: this.#counters.hold,
    };
  }

  bytes(): number {
    return this.#counters.bytes;
  }

  /** Records that were moved aside since the store was made. */
  corrupt(): number {
    return this.#counters.corrupt;
  }

  noteCorrupt(): void {
    this.#counters.corrupt += 1;
    this.#isCounted = false;
    this.#schedule();
  }

  /** Changes that queue.db has not got yet. */
  backlog(): number {
    return this.#dirty.size;
  }

  /** Makes everything durable, then takes no more. When the disk does not let it, whoever waits is told so. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer?.();
    await this.#batch;
    await this.#runBatch();
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(new QueueError("the store closed before this was durable"));
    }
  }

  #count(row: Row, sign: 1 | -1): void {
    const kind = row.epoch === EPOCH_HELD ? "hold" : triedOrNot(row);
    this.#counters[kind] += sign;
    this.#counters.bytes += sign * row.size;
    if (row.epoch === EPOCH_LEASED) this.#leased[triedOrNot(row)] += sign;
  }

  #change(number: number): SegmentChange {
    const known = this.#segments.get(number);
    if (known !== undefined) return known;
    const change = { live: 0, liveBytes: 0 };
    this.#segments.set(number, change);
    return change;
  }

  #live(row: Row, sign: 1 | -1): void {
    const change = this.#change(row.segment);
    change.live += sign;
    change.liveBytes += sign * row.size;
  }

  #isStored(id: string): boolean {
    return this.#dirty.get(id)?.stored ?? true;
  }

  #mark(id: string, row: Row | null, stored: boolean): void {
    if (row === null && !stored) this.#dirty.delete(id);
    else this.#dirty.set(id, { row, stored });
    this.#schedule();
  }

  #schedule(): void {
    if (this.#batch || this.#closed || this.#cancelTimer) return;
    const since = this.#parts.clock.now() - this.#lastBatchAt;
    const wait = this.#failing ? RETRY_MS : clamp(SETTLE_WINDOW_MS - since, 0, SETTLE_WINDOW_MS);
    this.#cancelTimer = this.#parts.clock.after(wait, () => {
      this.#cancelTimer = undefined;
      this.#batch = this.#runBatch().finally(() => {
        this.#batch = undefined;
        if (this.#hasWork()) this.#schedule();
      });
    });
  }

  #hasWork(): boolean {
    const waiting = this.#waiters.length + this.#dirty.size + this.#segments.size;
    return waiting + this.#dead.length > 0 || !this.#isCounted;
  }

  async #runBatch(): Promise<void> {
    this.#lastBatchAt = this.#parts.clock.now();
    const waiters = this.#waiters;
    this.#waiters = [];
    let dead: readonly number[] = [];
    try {
      this.apply();
      dead = this.#dead;
      this.#dead = [];
      // Rows that are only news need no sync: their segments are the truth until then.
      if (waiters.length > 0 || dead.length > 0) await this.#parts.sync();
    } catch (error) {
      this.#waiters = [...waiters, ...this.#waiters];
      // A file may only go when the durable database does not name it any more.
      this.#dead = [...dead, ...this.#dead];
      this.#failing = true;
      this.#parts.onTrouble(error);
      return;
    }
    for (const waiter of waiters) waiter.resolve();
    if (this.#failing) this.#parts.onRecovered();
    this.#failing = false;
    if (dead.length > 0) this.#parts.onDead(dead);
  }
}

function triedOrNot(row: MessageRow): "incoming" | "deferred" {
  return row.attempts === 0 ? "incoming" : "deferred";
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function applySegment(
  db: StateDb,
  number: number,
  { live, liveBytes, bytes }: SegmentChange,
  emptied: number[],
): void {
  if (bytes !== undefined) {
    if (live > 0) db.addSegment({ number, live, liveBytes, bytes });
    else emptied.push(number);
    return;
  }
  const left = db.changeSegment(number, live, liveBytes);
  if (left === undefined || left.live > 0) return;
  db.deleteSegment(number);
  emptied.push(number);
}
