import type { Clock } from "../../lib/world.ts";
import { contentSize } from "../../mail/content.ts";
import type { FreshMessages } from "../fresh.ts";
import { LeaseBook } from "../lease-book.ts";
import { EPOCH_HELD, EPOCH_LEASED, leasedRow, newRow, settledRow } from "../message-row.ts";
import { type LeaseOptions, LostLeaseError, NotFoundError, type Settlement } from "../storage.ts";
import type { Located } from "./committer.ts";
import type { Journal } from "./journal.ts";
import type { Row } from "./row.ts";
import type { ScheduleReader } from "./schedule.ts";
import type { Entry } from "./segment-writer.ts";
import type { StateDb } from "./state-db.ts";

export interface LedgerParts {
  readonly clock: Clock;
  readonly db: StateDb;
  readonly journal: Journal;
  readonly schedule: ScheduleReader;
  readonly fresh: FreshMessages;
  /** A message has ended. */
  readonly onEnded: () => void;
  /** A settlement of this message is on its way to the disk: its lease is not over before that has landed. */
  readonly isSettling: (id: string) => boolean;
}

/**
 * The state of every message at this instant: rows, leases and the epoch, which only change together and only here. A row
 * is in `EPOCH_LEASED` exactly while the book has a lease for it that no hold hides. Nothing here waits; durability is the
 * journal's.
 */
export class Ledger {
  readonly #parts: LedgerParts;
  readonly #leases = new LeaseBook();
  #epoch: number;

  constructor(parts: LedgerParts) {
    this.#parts = parts;
    this.#epoch = parts.db.meta("epoch");
  }

  find(id: string): Row | undefined {
    return this.#parts.journal.row(id);
  }

  /** Unknown id: `NotFoundError`. */
  require(id: string): Row {
    const row = this.find(id);
    if (row === undefined) throw new NotFoundError(`no message ${id}`);
    return row;
  }

  /**
   * As `require`, of a message whose record has so many recipients. A row that says otherwise is damaged, and put right: it
   * would end before the last recipient has the mail, or never.
   */
  requireWith(id: string, recipientCount: number): Row {
    const row = this.require(id);
    if (row.recipientCount === recipientCount) return row;
    const mended = { ...row, recipientCount };
    this.#parts.journal.replace(row, mended);
    return mended;
  }

  requireLease(id: string, holder: string): void {
    if (this.#leases.isHeld(id, holder, this.#parts.clock.now())) return;
    throw new LostLeaseError(`message ${id} is not leased to ${holder}`);
  }

  /** A message that a segment has just made durable, and that no row stands for. */
  arrived(entry: Entry, place: Located): void {
    const { journal, fresh } = this.#parts;
    const { lease, settles } = entry;
    const settlement = settles?.id === entry.id ? settles.settlement : undefined;
    // Not before: a lease that ended while the disk was busy would have had no row to end with.
    if (lease) this.#leases.take(entry.id, lease.holder, lease.until);
    const size = contentSize(entry.envelope.content);
    const row = newRow({ ...entry, size, settlement }, lease ? EPOCH_LEASED : this.#epoch);
    journal.add({ ...row, ...place });
    if (lease) fresh.keep(entry.id, entry.envelope);
  }

  /** Compaction has made a copy; whoever changed its place meanwhile has no use for it. */
  moved({ id, copyOf }: Entry, place: Located): void {
    const row = this.find(id);
    if (row?.segment !== copyOf?.segment || row?.offset !== copyOf?.offset) return;
    if (row) this.#parts.journal.move(row, place);
  }

  /** `row` is as `find` has just returned it. */
  settle(row: Row, settlement: Settlement, endsLease: boolean): void {
    if (endsLease) this.#leases.end(row.id);
    this.#replace(row, settledRow(row, settlement, this.#waitingEpoch(row.id)));
  }

  forget(id: string): void {
    const row = this.find(id);
    if (row !== undefined) this.#replace(row, null);
  }

  /** False: it was so already. */
  hold(id: string, held: boolean): boolean {
    const row = this.require(id);
    if ((row.epoch === EPOCH_HELD) === held) return false;
    const due = held ? row.due : this.#parts.clock.now();
    this.#replace(row, { ...row, due, epoch: held ? EPOCH_HELD : this.#waitingEpoch(id) });
    return true;
  }

  lease(now: number, limit: number, options: LeaseOptions): readonly Row[] {
    const { db, journal, schedule } = this.#parts;
    this.expire(now);
    journal.apply();
    const rows = schedule.due({ epoch: this.#epoch, now, limit, ...options });
    if (rows.length === 0) return [];
    let found: ReadonlySet<string> = new Set();
    db.transaction(() => {
      found = db.lease(
        rows.map((row) => row.id),
        now,
      );
    });
    const leased = rows.filter(({ id }) => found.has(id)).map((row) => leasedRow(row, now));
    journal.countLeased(leased);
    for (const { id } of leased) this.#leases.take(id, options.holder, options.until);
    return leased;
  }

  renew(ids: readonly string[], holder: string, until: number): void {
    const now = this.#parts.clock.now();
    for (const id of ids) {
      if (this.#leases.isHeld(id, holder, now)) this.#leases.take(id, holder, until);
    }
  }

  release(ids: readonly string[], holder: string): void {
    const now = this.#parts.clock.now();
    const { isSettling } = this.#parts;
    for (const id of ids) {
      if (this.#leases.isHeld(id, holder, now) && !isSettling(id)) this.#endLease(id);
    }
  }

  /** Ends the leases that are over, those aside whose settlement is on its way to the disk. */
  expire(now: number): void {
    const { isSettling } = this.#parts;
    for (const id of this.#leases.expired(now)) if (!isSettling(id)) this.#endLease(id);
  }

  /** Constant time: starts an epoch. Returns how many messages waited. */
  flush(): number {
    const { db, journal } = this.#parts;
    const epoch = this.#epoch + 1;
    // Only what the database has may be used: a row of an epoch that it forgets would wait for ever.
    db.transaction(() => db.setMeta("epoch", epoch));
    this.#epoch = epoch;
    const { incoming, deferred } = journal.states();
    return incoming + deferred;
  }

  nextDue(): number | null {
    this.#parts.journal.apply();
    return this.#parts.db.earliestDue(this.#epoch) ?? null;
  }

  #replace(row: Row, next: Row | null): void {
    this.#parts.journal.replace(row, next);
    if (next?.epoch !== EPOCH_LEASED) this.#parts.fresh.drop(row.id);
    if (next !== null) return;
    this.#leases.end(row.id);
    this.#parts.onEnded();
  }

  /** Whoever is leased stays invisible, whatever else is changed. */
  #waitingEpoch(id: string): number {
    return this.#leases.has(id) ? EPOCH_LEASED : this.#epoch;
  }

  #endLease(id: string): void {
    if (!this.#leases.end(id)) return;
    const row = this.find(id);
    if (row?.epoch === EPOCH_LEASED) this.#replace(row, { ...row, epoch: this.#epoch });
  }
}
