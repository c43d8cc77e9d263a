import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import { QueueError } from "../../mail/queue-error.ts";

/** Where SQLite keeps `user_version` in a database file: here the process id of whoever has the lock. */
const OWNER_OFFSET = 60;

/**
 * Spools that this process has open: a second attempt must not touch the file, or the system would drop our lock. The
 * connections stay here, since one that is collected as garbage gives its lock up.
 */
const ours = new Map<string, Database>();

/** Somebody else serves this spool. */
export class LockedError extends QueueError {
  override readonly name = "LockedError";
}

/**
 * Takes the spool for this process until the returned function is called or the process ends, however it ends: the
 * lock is the kernel's, so that a crash leaves none behind. Throws `LockedError` when it is taken.
 */
export function lockSpool(path: string): () => void {
  const key = fs.existsSync(path) ? fs.realpathSync(path) : path;
  if (ours.has(key)) throw new LockedError(`the spool is open in this process already (${path})`);
  requireDatabase(path);
  const db = new Database(path, { create: true });
  try {
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run("PRAGMA journal_mode = MEMORY");
    db.run("BEGIN EXCLUSIVE");
    db.run(`PRAGMA user_version = ${process.pid}`);
    // Exclusive mode keeps the lock over the commit that makes the owner readable.
    db.run("COMMIT");
  } catch (cause) {
    db.close();
    if (!isBusy(cause)) throw new QueueError(`the spool cannot be locked (${path})`, { cause });
    throw new LockedError(`the spool is in use by process ${ownerOf(path)} (${path})`, { cause });
  }
  const held = fs.realpathSync(path);
  ours.set(held, db);
  fs.chmodSync(path, 0o600);
  return () => {
    ours.delete(held);
    db.close();
  };
}

/** What is in the file does not matter. One that holds anything else than a database is nobody's lock: it starts anew. */
function requireDatabase(path: string): void {
  const found = fs.statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile() || found.size === 0) return;
  const start = fs.readFileSync(path).subarray(0, DATABASE_MAGIC.length);
  if (!start.equals(DATABASE_MAGIC)) fs.truncateSync(path, 0);
}

const DATABASE_MAGIC = new TextEncoder().encode("SQLite format 3\0");

function isBusy(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : "";
  return typeof code === "string" && /^SQLITE_(?:BUSY|LOCKED)/u.test(code);
}

function ownerOf(path: string): number | string {
  try {
    const bytes = fs.readFileSync(path);
    return bytes.length >= OWNER_OFFSET + 4 ? bytes.readUInt32BE(OWNER_OFFSET) : "unknown";
  } catch {
    return "unknown";
  }
}
