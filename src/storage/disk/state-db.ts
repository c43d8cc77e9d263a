import { Database, type Statement } from "bun:sqlite";
import * as fs from "node:fs";
import { EPOCH_FIRST, EPOCH_HELD, EPOCH_LEASED } from "../message-row.ts";
import type { ListQuery } from "../storage.ts";
import { storeError } from "../store-error.ts";
import { type Row, soundRow } from "./row.ts";
import { asBroken, isDamaged, prepareTables, requireForm } from "./state-form.ts";

/** Octets of SQLite's page cache: bounded, however large the queue (P8). */
const CACHE_KIB = 16 * 1024;
/** In the year 2109. */
const DUE_MAX = 2 ** 42;

export const COLUMNS = `id, epoch, due, domain, segment, offset, length, size, attempts, received_at AS receivedAt, sender,
  recipients AS recipientCount, state`;

/** Numbers that outlive the process, each under its name in the table `meta`. */
export type Meta = "epoch" | "indexed" | "corrupt" | "incoming" | "deferred" | "hold" | "bytes";

export interface SegmentRow {
  readonly number: number;
  readonly live: number;
  readonly liveBytes: number;
  readonly bytes: number;
}

export interface DueOfDomain {
  readonly epoch: number;
  readonly now: number;
  readonly limit: number;
  /** Leaves out the rows of older epochs. */
  readonly timelyOnly: boolean;
}

/** queue.db: rows and nothing else. Decisions are made by those who call; every statement is prepared once. */
export interface StateDb {
  /** Runs `work` as one transaction: all of it or, when it throws, nothing. */
  transaction(work: () => void): void;
  row(id: string): Row | undefined;
  put(row: Row): void;
  /**
   * Marks rows as leased, and as due at `now` at the latest. Returns the ids that were found: in a damaged file an index may
   * name rows that are not there.
   */
  lease(ids: readonly string[], now: number): ReadonlySet<string>;
  /**
   * What every lease that the last process left goes back to: waiting in `epoch`. So does what waits in an epoch that there
   * never was, and what is due when nobody lives any more is due now: no flipped bit makes a message wait for ever.
   */
  unleaseAll(epoch: number): void;
  delete(id: string): void;
  /** Rows that wait in an epoch before `epoch`. */
  flushed(epoch: number, limit: number): readonly Row[];
  /** Rows of `epoch` that are due at `now`. */
  due(epoch: number, now: number, limit: number): readonly Row[];
  /** The same two questions for one domain in one answer. */
  dueOfDomain(domain: string, query: DueOfDomain): readonly Row[];
  /** The next domains after this one that have rows, in order; without a look at all of those rows. */
  domainsAfter(domain: string, limit: number): readonly string[];
  earliestDue(epoch: number): number | undefined;
  page(query: ListQuery, limit: number): readonly Row[];
  oldest(): number | undefined;
  meta(key: Meta): number;
  setMeta(key: Meta, value: number): void;
  addSegment(segment: SegmentRow): void;
  /** Adds to what lives in a segment and returns what is left; `undefined` for a segment it does not know. */
  changeSegment(number: number, live: number, liveBytes: number): SegmentRow | undefined;
  deleteSegment(number: number): void;
  segment(number: number): SegmentRow | undefined;
  /** Segments with the fewest living octets first: what compaction looks at. */
  wasteful(liveBytesMax: number, limit: number): readonly SegmentRow[];
  segmentsIn(from: number, to: number): readonly SegmentRow[];
  /** Octets of content alive and on disk. */
  segmentTotals(): { readonly liveBytes: number; readonly bytes: number; readonly count: number };
  close(): void;
}

/**
 * Opens or makes queue.db. Throws SQLite's error when the file is damaged; `isDamaged` tells. What goes wrong later is
 * thrown as `QueueError`, and `onDamage` hears of it when it is the file itself.
 */
export function openStateDb(path: string, onDamage: () => void = () => undefined): StateDb {
  requireForm(path);
  // SQLite would let others read it; its own files beside this one get the same mode.
  fs.closeSync(fs.openSync(path, "a", 0o600));
  const db = new Database(path, { create: true, strict: true });
  try {
    prepareDatabase(db);
    return guarded(statementsOf(db), onDamage);
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Prepared against the tables that are there, which may have other columns than ours. */
function statementsOf(db: Database) {
  return asBroken(() => ({
    ...messageStatements(db),
    ...scheduleStatements(db),
    ...segmentStatements(db),
    ...metaStatements(db),
  }));
}

function guarded<T extends object>(statements: T, onDamage: () => void): T {
  const guard = (run: (...given: unknown[]) => unknown) => {
    return (...given: unknown[]): unknown => {
      try {
        return run(...given);
      } catch (cause) {
        if (isDamaged(cause)) onDamage();
        throw storeError("the state of the queue cannot be read or written", cause);
      }
    };
  };
  return Object.fromEntries(
    Object.entries(statements).map(([name, run]) => [name, guard(run)]),
  ) as T;
}

function prepareDatabase(db: Database): void {
  db.run("PRAGMA busy_timeout = 5000");
  // The commit itself does not wait for the disk: the journal syncs the write-ahead file once for each batch.
  db.run("PRAGMA journal_mode = WAL");
  db.run("PRAGMA synchronous = NORMAL");
  // Checkpoints sync the database and so would stop the event loop; a thread of its own makes them.
  db.run("PRAGMA wal_autocheckpoint = 0");
  db.run(`PRAGMA cache_size = -${CACHE_KIB}`);
  db.run("PRAGMA temp_store = MEMORY");
  prepareTables(db);
}

function messageStatements(db: Database) {
  const begin = db.query("BEGIN IMMEDIATE");
  const commit = db.query("COMMIT");
  const rollback = db.query("ROLLBACK");
  const select = db.query(`SELECT ${COLUMNS} FROM message WHERE id = ?`);
  const put = db.query(
    "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
  );
  const remove = db.query("DELETE FROM message WHERE id = ?");
  return {
    transaction(work: () => void): void {
      begin.run();
      try {
        work();
        commit.run();
      } catch (error) {
        if (db.inTransaction) rollback.run();
        throw error;
      }
    },
    row: (id: string) => soundOne(select.get(id) as Row | null),
    put(row: Row): void {
      put.run(
        row.id,
        row.epoch,
        row.due,
        row.domain,
        row.segment,
        row.offset,
        row.length,
        row.size,
        row.attempts,
        row.receivedAt,
        row.sender,
        row.recipientCount,
        row.state,
      );
    },
    delete: (id: string): void => void remove.run(id),
    close: (): void => db.close(),
  };
}

function scheduleStatements(db: Database) {
  const lease = db.query(
    `UPDATE message SET epoch = ${EPOCH_LEASED}, due = min(due, ?2) WHERE id = ?1`,
  );
  // Ranges of the index, with no look at what is held. Texts and blobs sort behind all numbers; NULL is in no range, and
  // SQLite would take "IS NULL" for false in a column that may hold none.
  const unlease = [
    db.query(`UPDATE message SET epoch = ?1 WHERE epoch > ?1 AND epoch < ${EPOCH_HELD}`),
    db.query(`UPDATE message SET epoch = ?1 WHERE epoch > ${EPOCH_HELD}`),
    db.query("UPDATE message SET epoch = ?1 WHERE epoch IS ?2"),
    db.query(`UPDATE message SET due = 0 WHERE epoch = ?1 AND due > ${DUE_MAX}`),
    db.query("UPDATE message SET due = 0 WHERE epoch = ?1 AND due IS ?2"),
  ];
  const flushed = db.query(
    `SELECT ${COLUMNS} FROM message WHERE epoch < ? ORDER BY epoch, due LIMIT ?`,
  );
  const due = db.query(
    `SELECT ${COLUMNS} FROM message WHERE epoch = ? AND due <= ? ORDER BY due LIMIT ?`,
  );
  const flushedOfDomain = db.query(
    `SELECT ${COLUMNS} FROM message WHERE domain = ? AND epoch < ? ORDER BY epoch, due LIMIT ?`,
  );
  const dueOfDomain = db.query(
    `SELECT ${COLUMNS} FROM message WHERE domain = ? AND epoch = ? AND due <= ? ORDER BY due LIMIT ?`,
  );
  // One seek in the index for each; DISTINCT would walk over every row.
  const domainsAfter = db.query(
    `WITH RECURSIVE next (domain) AS (
      SELECT min(domain) FROM message WHERE domain > ?
      UNION ALL SELECT (SELECT min(domain) FROM message WHERE domain > next.domain) FROM next
      WHERE next.domain IS NOT NULL LIMIT ?
    ) SELECT domain FROM next WHERE domain IS NOT NULL`,
  );
  const anyFlushed = db.query(
    "SELECT due FROM message WHERE epoch < ? ORDER BY epoch, due LIMIT 1",
  );
  const earliest = db.query("SELECT due FROM message WHERE epoch = ? ORDER BY due LIMIT 1");
  return {
    lease(ids: readonly string[], now: number): ReadonlySet<string> {
      return new Set(ids.filter((id) => lease.run(id, now).changes > 0));
    },
    unleaseAll(epoch: number): void {
      for (const statement of unlease) {
        statement.run(...[epoch, null].slice(0, statement.paramsCount));
      }
    },
    flushed: (epoch: number, limit: number) => sound(flushed.all(epoch, limit)),
    due: (epoch: number, now: number, limit: number) => sound(due.all(epoch, now, limit)),
    dueOfDomain(domain: string, { epoch, now, limit, timelyOnly }: DueOfDomain): readonly Row[] {
      const first = timelyOnly ? [] : sound(flushedOfDomain.all(domain, epoch, limit));
      if (first.length >= limit) return first;
      return [...first, ...sound(dueOfDomain.all(domain, epoch, now, limit - first.length))];
    },
    domainsAfter(domain: string, limit: number): readonly string[] {
      const rows = domainsAfter.all(domain, limit) as { domain: unknown }[];
      // Blobs, which only damage makes, stand behind all texts.
      return rows.map((row) => row.domain).filter((found) => typeof found === "string");
    },
    earliestDue(epoch: number): number | undefined {
      // Whoever waits in an older epoch was flushed and is due at once.
      if (anyFlushed.get(epoch) !== null) return 0;
      return (earliest.get(epoch) as { due: number } | null)?.due;
    },
  };
}

function segmentStatements(db: Database) {
  const columns = "number, live, live_bytes AS liveBytes, bytes";
  const add = db.query("INSERT OR REPLACE INTO segment VALUES (?, ?, ?, ?)");
  const change = db.query(
    `UPDATE segment SET live = live + ?, live_bytes = live_bytes + ? WHERE number = ? RETURNING ${columns}`,
  );
  const remove = db.query("DELETE FROM segment WHERE number = ?");
  const one = db.query(`SELECT ${columns} FROM segment WHERE number = ?`);
  const wasteful = db.query(
    `SELECT ${columns} FROM segment WHERE live_bytes <= ? ORDER BY live_bytes, number LIMIT ?`,
  );
  const between = db.query(
    `SELECT ${columns} FROM segment WHERE number BETWEEN ? AND ? ORDER BY number`,
  );
  const totals = db.query(
    "SELECT coalesce(sum(live_bytes), 0) AS liveBytes, coalesce(sum(bytes), 0) AS bytes, count(*) AS count FROM segment",
  );
  return {
    addSegment: (segment: SegmentRow): void =>
      void add.run(segment.number, segment.live, segment.liveBytes, segment.bytes),
    changeSegment: (number: number, live: number, liveBytes: number) =>
      (change.get(live, liveBytes, number) as SegmentRow | null) ?? undefined,
    deleteSegment: (number: number): void => void remove.run(number),
    segment: (number: number) => (one.get(number) as SegmentRow | null) ?? undefined,
    wasteful: (max: number, limit: number) => wasteful.all(max, limit) as SegmentRow[],
    segmentsIn: (from: number, to: number) => between.all(from, to) as SegmentRow[],
    segmentTotals: () => totals.get() as { liveBytes: number; bytes: number; count: number },
  };
}

/** A row whose id is no text cannot be named, and so not be worked with; a rescue finds its message again. */
function sound(rows: readonly unknown[]): readonly Row[] {
  return (rows as readonly Row[]).filter(({ id }) => typeof id === "string").map(soundRow);
}

function soundOne(row: Row | null): Row | undefined {
  return row === null ? undefined : soundRow(row);
}

function metaStatements(db: Database) {
  const get = db.query("SELECT value FROM meta WHERE key = ?");
  const set = db.query("INSERT OR REPLACE INTO meta VALUES (?, ?)");
  const oldest = db.query("SELECT received_at AS at FROM message ORDER BY id LIMIT 1");
  const pages = new Map<string, Statement>();
  return {
    meta(key: Meta): number {
      const value = (get.get(key) as { value: number } | null)?.value;
      return Number.isSafeInteger(value) ? (value as number) : defaultMeta(key);
    },
    setMeta: (key: Meta, value: number): void => void set.run(key, value),
    oldest: () => (oldest.get() as { at: number } | null)?.at,
    page(query: ListQuery, limit: number): readonly Row[] {
      const { sql, values } = pageQuery(query);
      const statement = pages.get(sql) ?? db.query(sql);
      pages.set(sql, statement);
      return sound(statement.all(...values, limit));
    },
  };
}

function defaultMeta(key: Meta): number {
  return key === "epoch" ? EPOCH_FIRST : 0;
}

/**
 * The unary plus keeps the planner on the order of ids: most messages are in these two states. The other two are
 * usually few, and the index by epoch finds them without reading past all the rest.
 */
const STATE_CONDITIONS = {
  incoming: `+epoch < ${EPOCH_LEASED} AND attempts = 0`,
  deferred: `+epoch < ${EPOCH_LEASED} AND attempts > 0`,
  active: `epoch = ${EPOCH_LEASED}`,
  hold: `epoch = ${EPOCH_HELD}`,
} as const;

function pageQuery(query: ListQuery): { sql: string; values: string[] } {
  const conditions = ["id > ?"];
  const values = [query.after ?? ""];
  if (query.domain !== undefined) {
    // The unary plus keeps the planner on the order of ids, so that a page needs no sorting of the whole domain.
    conditions.push("+domain = ?");
    values.push(query.domain.toLowerCase());
  }
  if (query.sender !== undefined) {
    conditions.push("sender = ? COLLATE NOCASE");
    values.push(query.sender);
  }
  if (query.state !== undefined) conditions.push(STATE_CONDITIONS[query.state]);
  const where = conditions.join(" AND ");
  return { sql: `SELECT ${COLUMNS} FROM message WHERE ${where} ORDER BY id LIMIT ?`, values };
}
