import { Database } from "bun:sqlite";

/**
 * The thread that makes checkpoints: they sync the database file, which may take as long as the disk likes, and so must
 * not happen where mail is answered. It is asked with the database's path and answers when done.
 */
declare const self: Worker;

/** While mail goes on, more is written during a checkpoint; a short one right behind it catches up with that. */
const ROUNDS_MAX = 5;

let open: { readonly path: string; readonly db: Database } | undefined;

function database(path: string): Database {
  if (open?.path === path) return open.db;
  open?.db.close();
  const db = new Database(path, { create: false, readwrite: true });
  db.run("PRAGMA busy_timeout = 1000");
  db.run("PRAGMA synchronous = NORMAL");
  // Next to nothing of the database is needed in this thread.
  db.run("PRAGMA cache_size = -256");
  open = { path, db };
  return db;
}

/** Returns whether everything is folded in. */
function checkpoint(path: string): boolean {
  const statement = database(path).query("PRAGMA wal_checkpoint(PASSIVE)");
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const { log, checkpointed } = statement.get() as { log: number; checkpointed: number };
    // Once everything is folded in, the next transaction starts the file over.
    if (log === checkpointed) return true;
  }
  return false;
}

/** An empty path closes the database. */
self.onmessage = (event: MessageEvent<string>) => {
  try {
    if (event.data === "") open?.db.close();
    else if (!checkpoint(event.data)) return self.postMessage("more is written than is folded in");
    self.postMessage("");
  } catch (error) {
    self.postMessage(error instanceof Error ? error.message : String(error));
  }
};
