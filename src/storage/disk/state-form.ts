import type { Database } from "bun:sqlite";
import * as fs from "node:fs";
import { codeOf } from "../../lib/error-code.ts";
import { QueueError } from "../../mail/queue-error.ts";

// Whether a file is a queue.db of ours at all, or has to be made anew from the segments.

const FORMAT = 1;
/** Where the file says that it has a format which no version will ever write, it is damaged. */
const FORMAT_MAX = 1000;

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

/** The file itself, or one beside it, is not what it has to be. */
class BrokenError extends Error {
  override readonly name = "BrokenError";
}

/** Throws when queue.db, or a file beside it, is something that SQLite would trip over or never write to. */
export function requireForm(path: string): void {
  for (const suffix of ["", "-wal", "-shm"]) {
    const found = fs.lstatSync(path + suffix, { throwIfNoEntry: false });
    if (found?.isDirectory()) throw new BrokenError(`queue.db${suffix} is a directory`);
  }
  requireVersions(path);
}

/** Where a database's header says by which versions of SQLite it can be written and read. */
const VERSIONS_OFFSET = 18;

/** SQLite takes a file that a later version wrote for one that must not be written: there never was such a version. */
function requireVersions(path: string): void {
  // What a power cut left of a file that was being made, SQLite takes back with the journal beside it.
  if (!fs.existsSync(path) || fs.existsSync(`${path}-journal`)) return;
  const fd = fs.openSync(path, "r");
  try {
    const versions = new Uint8Array(2);
    const count = fs.readSync(fd, versions, 0, versions.length, VERSIONS_OFFSET);
    const isKnown = versions.every((version) => version === 1 || version === 2);
    if (count === versions.length && !isKnown) throw new BrokenError("its header is damaged");
  } finally {
    fs.closeSync(fd);
  }
}

/** Makes the tables of a new file; of one that has been used they are all there, or it is broken. */
export function prepareTables(db: Database): void {
  const { user_version: found } = db.query("PRAGMA user_version").get() as { user_version: number };
  if (found < 0 || found > FORMAT_MAX) throw new BrokenError("its format is nonsense");
  if (found > FORMAT) {
    throw new QueueError(
      `queue.db has format ${found}, this version knows ${FORMAT}: it was written by a newer version, use that`,
    );
  }
  // A table that was lost must not come back empty: what it said had been moved would be swept away.
  const tables = db.query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name IN (?, ?, ?)");
  const strangers = db.query(
    "SELECT 1 FROM sqlite_schema WHERE type IN ('trigger', 'view') LIMIT 1",
  );
  if (strangers.get() !== null) throw new BrokenError("there is more in it than our tables");
  if (found === FORMAT && tables.all("message", "segment", "meta").length < 3) {
    throw new BrokenError("a table is missing");
  }
  asBroken(() => db.run(SCHEMA));
  if (found === 0) db.run(`PRAGMA user_version = ${FORMAT}`);
}

/** Runs SQL of ours, which can only be wrong where it meets another schema. */
export function asBroken<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (codeOf(cause) !== "SQLITE_ERROR") throw cause;
    throw new BrokenError("its tables are not ours", { cause });
  }
}

/** Whether an error of SQLite says that the file itself is broken, so that it must be made anew from the segments. */
export function isDamaged(error: unknown): boolean {
  if (error instanceof BrokenError) return true;
  if (/^SQLITE_(CORRUPT|NOTADB|FORMAT)/u.test(codeOf(error))) return true;
  return error instanceof Error && error.cause !== undefined && isDamaged(error.cause);
}
