import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import type { Emit } from "../../observe/events.ts";
import type { Layout } from "./layout.ts";
import type { Salvage } from "./recovery.ts";
import { EPOCH_HELD, type Row } from "./row.ts";
import { isDamaged, openStateDb, type StateDb } from "./state-db.ts";

/** The state database, and what could be saved when it had to be made anew. */
export interface OpenedState {
  readonly db: StateDb;
  /** Set when every segment must be read again. */
  readonly salvage?: Salvage & { close(): void };
}

/**
 * Opens queue.db. A missing one is made; a damaged one is moved to `corrupt/` and made anew, with what can still be read
 * of it: the segments are the truth of what is queued, the database of what was done about it.
 */
export function openState(
  layout: Layout,
  stamp: number,
  hasSegments: () => boolean,
  emit: Emit,
): OpenedState {
  const isNew = !fs.existsSync(layout.database);
  if (!isNew) {
    try {
      const db = openStateDb(layout.database);
      db.page({ limit: 1 }, 1);
      db.earliestDue(db.meta("epoch"));
      return { db };
    } catch (error) {
      if (!isDamaged(error)) throw error;
      const moved = moveAside(layout, stamp);
      const reason = error instanceof Error ? error.message : String(error);
      emit({ kind: "corrupt", subject: "queue.db", movedTo: moved, reason });
      return { db: openStateDb(layout.database), salvage: salvageFrom(moved) };
    }
  }
  const db = openStateDb(layout.database);
  return hasSegments() ? { db, salvage: nothingSaved } : { db };
}

const nothingSaved: Salvage & { close(): void } = {
  complete: false,
  indexed: 0,
  row: () => undefined,
  close: () => undefined,
};

function moveAside(layout: Layout, stamp: number): string {
  const moved = `${layout.corrupt}/queue-${stamp}.db`;
  for (const suffix of ["", "-wal"]) {
    if (fs.existsSync(layout.database + suffix))
      fs.renameSync(layout.database + suffix, moved + suffix);
  }
  fs.rmSync(`${layout.database}-shm`, { force: true });
  return moved;
}

/** Copies what can be read into a database in memory, row by row, until the first row that cannot. */
function salvageFrom(path: string): Salvage & { close(): void } {
  const saved = new Database(":memory:");
  saved.run("CREATE TABLE saved (id TEXT PRIMARY KEY, row TEXT) WITHOUT ROWID");
  const insert = saved.query("INSERT OR REPLACE INTO saved VALUES (?, ?)");
  let complete = false;
  let indexed = 0;
  try {
    const old = new Database(path, { readonly: true });
    const meta = old.query("SELECT value FROM meta WHERE key = 'indexed'").get();
    indexed = (meta as { value: number } | null)?.value ?? 0;
    const rows = old.query(
      `SELECT id, epoch, due, domain, segment, offset, length, size, attempts, received_at AS receivedAt, sender,
        recipients AS recipientCount, state FROM message ORDER BY id`,
    );
    for (const row of rows.iterate() as Iterable<Row>) insert.run(row.id, JSON.stringify(row));
    complete = true;
    old.close();
  } catch {
    // What was read until here is worth having; whatever is missing is taken from the segments.
  }
  const select = saved.query("SELECT row FROM saved WHERE id = ?");
  return {
    complete,
    indexed,
    row(id) {
      const found = select.get(id) as { row: string } | null;
      return found === null ? undefined : waiting(JSON.parse(found.row) as Row);
    },
    close: () => saved.close(),
  };
}

/** Leases ended with the process that held them. */
function waiting(row: Row): Row {
  return row.epoch === EPOCH_HELD ? row : { ...row, epoch: 1 };
}
