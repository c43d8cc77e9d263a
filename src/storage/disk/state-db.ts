import { Database, type Statement } from "bun:sqlite";
import * as fs from "node:fs";
import { EPOCH_FIRST, EPOCH_HELD, EPOCH_LEASED } from "../message-row.ts";
import type { ListQuery } from "../storage.ts";
import type { Row } from "./row.ts";
import { storeError } from "./store-error.ts";

/** Octets of SQLite's page cache: bounded, however large the queue (P8). */
const CACHE_KIB = 16 * 1024;
const FORMAT = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS message (
    id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, due INTEGER NOT NULL, domain TEXT NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, size INTEGER NOT NULL,
    attempts INTEGER NOT NULL, received_at INTEGER NOT NULL, sender TEXT NOT NULL,
    recipients INTEGER NOT NULL, state TEXT
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS message_by_due ON message (epoch, due);
  CREATE INDEX IF NOT EXISTS message_by_domain ON message (domain, epoch, due);
  CREATE TABLE IF NOT EXISTS segment (
    number INTEGER PRIMARY KEY, live INTEGER NOT NULL, live_bytes INTEGER NOT NULL, bytes INTEGER NOT NULL
  );
  CREATE INDEX IF NOT EXISTS segment_by_waste ON segment (live_bytes, number);
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`;

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
  /** Marks rows as leased, and as due at `now` at the latest. */
  lease(ids: readonly string[], now: number): void;
  /** What every lease that the last process left goes back to: waiting in `epoch`. */
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
  // SQLite would let others read it; its own files beside this one get the same mode.
  fs.closeSync(fs.openSync(path, "a", 0o600));
  const db = new Database(path, { create: true, strict: true });
  try {
    prepareDatabase(db);
    const statements = {
      ...messageStatements(db),
      ...scheduleStatements(db),
      ...segmentStatements(db),
      ...metaStatements(db),
    };
    return guarded(statements, onDamage);
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Whether an error of SQLite says that the file itself is broken, so that it must be made anew from the segments. */
export function isDamaged(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (typeof code === "string" && /^SQLITE_(CORRUPT|NOTADB|FORMAT)/u.test(code)) return true;
  return error instanceof Error && error.cause !== undefined && isDamaged(error.cause);
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
  db.run(SCHEMA);
  const { user_version: found } = db.query("PRAGMA user_version").get() as { user_version: number };
  if (found > FORMAT) throw new Error(`queue.db has format ${found}; this version knows ${FORMAT}`);
  if (found === 0) db.run(`PRAGMA user_version = ${FORMAT}`);
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
    row: (id: string) => (select.get(id) as Row | null) ?? undefined,
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
  const unlease = db.query(`UPDATE message SET epoch = ? WHERE epoch = ${EPOCH_LEASED}`);
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
    lease(ids: readonly string[], now: number): void {
      for (const id of ids) lease.run(id, now);
    },
    unleaseAll: (epoch: number): void => void unlease.run(epoch),
    flushed: (epoch: number, limit: number) => flushed.all(epoch, limit) as Row[],
    due: (epoch: number, now: number, limit: number) => due.all(epoch, now, limit) as Row[],
    dueOfDomain(domain: string, { epoch, now, limit, timelyOnly }: DueOfDomain): readonly Row[] {
      const first = timelyOnly ? [] : (flushedOfDomain.all(domain, epoch, limit) as Row[]);
      if (first.length >= limit) return first;
      return [...first, ...(dueOfDomain.all(domain, epoch, now, limit - first.length) as Row[])];
    },
    domainsAfter: (domain: string, limit: number) =>
      (domainsAfter.all(domain, limit) as { domain: string }[]).map((row) => row.domain),
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

function metaStatements(db: Database) {
  const get = db.query("SELECT value FROM meta WHERE key = ?");
  const set = db.query("INSERT OR REPLACE INTO meta VALUES (?, ?)");
  const oldest = db.query("SELECT received_at AS at FROM message ORDER BY id LIMIT 1");
  const pages = new Map<string, Statement>();
  return {
    meta: (key: Meta) => (get.get(key) as { value: number } | null)?.value ?? defaultMeta(key),
    setMeta: (key: Meta, value: number): void => void set.run(key, value),
    oldest: () => (oldest.get() as { at: number } | null)?.at,
    page(query: ListQuery, limit: number): readonly Row[] {
      const { sql, values } = pageQuery(query);
      const statement = pages.get(sql) ?? db.query(sql);
      pages.set(sql, statement);
      return statement.all(...values, limit) as Row[];
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
