import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import { EPOCH_FIRST, EPOCH_HELD, readProgress } from "../message-row.ts";
import { isWhole, type Row } from "./row.ts";
import { COLUMNS } from "./state-db.ts";

/** What is known of messages while queue.db is made anew out of the segments. */
export interface Salvage {
  /** The damaged database could be read to its end, so that a message it does not name has ended. */
  readonly complete: boolean;
  /** The highest segment that the damaged database knew. */
  readonly indexed: number;
  /** Records that were moved aside before. */
  readonly corrupt: number;
  row(id: string): Row | undefined;
  /** Saved rows that nobody has asked for: no segment has their record. */
  missing(): Iterable<Row>;
  close(): void;
}

export const nothingSaved: Salvage = {
  complete: false,
  indexed: 0,
  corrupt: 0,
  row: () => undefined,
  missing: () => [],
  close: () => undefined,
};

/**
 * Copies what can be read of a damaged database into a file in scratch: the rows from the first on, until one that cannot
 * be read, and from the last on back to there.
 */
export function salvageFrom(damaged: string, scratch: string): Salvage {
  const path = `${scratch}/salvage`;
  const saved = new Database(path, { create: true });
  saved.run("PRAGMA journal_mode = OFF");
  saved.run("PRAGMA synchronous = OFF");
  saved.run("CREATE TABLE saved (id TEXT PRIMARY KEY, row TEXT, seen INTEGER) WITHOUT ROWID");
  const { complete, ...meta } = copyRows(damaged, saved);
  const select = saved.query("SELECT row FROM saved WHERE id = ?");
  const see = saved.query("UPDATE saved SET seen = 1 WHERE id = ?");
  const unseen = saved.query("SELECT row FROM saved WHERE seen = 0 ORDER BY id");
  return {
    complete,
    ...meta,
    row(id) {
      const found = select.get(id) as { row: string } | null;
      if (found === null) return undefined;
      see.run(id);
      return waiting(JSON.parse(found.row) as Row);
    },
    *missing() {
      for (const { row } of unseen.iterate() as Iterable<{ row: string }>) yield JSON.parse(row);
    },
    close() {
      saved.close();
      fs.rmSync(path, { force: true });
    },
  };
}

function copyRows(
  damaged: string,
  saved: Database,
): Pick<Salvage, "complete" | "indexed" | "corrupt"> {
  let old: Database;
  try {
    old = new Database(damaged, { readwrite: true, create: false });
  } catch {
    return { complete: false, indexed: 0, corrupt: 0 };
  }
  const insert = saved.query("INSERT OR REPLACE INTO saved VALUES (?, ?, 0)");
  let highest = 0;
  const copy = (order: "ASC" | "DESC"): boolean => {
    let isComplete = true;
    try {
      const rows = old.query(`SELECT ${COLUMNS} FROM message ORDER BY id ${order}`);
      for (const row of rows.iterate() as Iterable<Row>) {
        // A page that was written over with something else may still be read as rows.
        const isSaved =
          isWhole(row) && (row.state === null || readProgress(row.state) !== undefined);
        if (isSaved) insert.run(row.id, JSON.stringify(row));
        else isComplete = false;
        highest = Math.max(highest, isSaved ? row.segment : 0);
      }
      return isComplete;
    } catch {
      return false;
    }
  };
  saved.run("BEGIN");
  // Rows may have got lost in a way that leaves the others easy to read.
  const complete = copy("ASC") && isIntact(old);
  if (!complete) copy("DESC");
  saved.run("COMMIT");
  // Every segment that a row names was known.
  const indexed = Math.max(metaOf(old, "indexed") ?? 0, highest);
  const corrupt = metaOf(old, "corrupt") ?? 0;
  old.close();
  return { complete, indexed, corrupt };
}

function isIntact(old: Database): boolean {
  try {
    const found = old.query("PRAGMA integrity_check(1)").get();
    return (found as { integrity_check: string }).integrity_check === "ok";
  } catch {
    return false;
  }
}

function metaOf(old: Database, key: string): number | undefined {
  try {
    const found = old.query("SELECT value FROM meta WHERE key = ?").get(key);
    const value = (found as { value: number } | null)?.value;
    return Number.isSafeInteger(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Leases ended with the process that held them, and a new database counts its epochs from the start. */
function waiting(row: Row): Row {
  return row.epoch === EPOCH_HELD ? row : { ...row, epoch: EPOCH_FIRST };
}
