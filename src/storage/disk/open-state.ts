import * as fs from "node:fs";
import type { Emit } from "../../observe/events.ts";
import type { Layout } from "./layout.ts";
import { nothingSaved, type Salvage, salvageFrom } from "./salvage.ts";
import { openStateDb, type StateDb } from "./state-db.ts";
import { isDamaged } from "./state-form.ts";

/** The state database, and what could be saved when it had to be made anew. */
export interface OpenedState {
  readonly db: StateDb;
  /** Set when every segment must be read again; `finishRebuild` when that is durable. */
  readonly salvage?: Salvage;
}

export interface OpenStateParts {
  readonly layout: Layout;
  /** For the name of a file that is moved aside. */
  readonly stamp: number;
  readonly hasSegments: () => boolean;
  readonly emit: Emit;
}

/**
 * Opens queue.db. A missing one is made; a damaged one is moved to `corrupt/` and made anew, with what can still be read
 * of it: the segments are the truth of what is queued, the database of what was done about it. Until `finishRebuild` a
 * note says that the new one is not whole, so that a crash on the way starts over from the old one.
 */
export function openState(parts: OpenStateParts): OpenedState {
  const { layout, hasSegments } = parts;
  if (fs.existsSync(layout.rebuild))
    return rebuild(parts, readPlan(layout), "it was known to be damaged");
  if (isMissing(layout)) return hasSegments() ? rebuild(parts, undefined) : { db: open(layout) };
  try {
    const db = open(layout);
    db.page({ limit: 1 }, 1);
    db.earliestDue(db.meta("epoch"));
    // It has forgotten everything, or the first process of all ended before it wrote anything.
    const isEmpty = db.meta("indexed") === 0 && hasSegments();
    return isEmpty ? { db, salvage: nothingSaved } : { db };
  } catch (error) {
    if (!isDamaged(error)) throw error;
    return rebuild(parts, undefined, error instanceof Error ? error.message : String(error));
  }
}

/** What was saved is in the new database, durably. Were the note to come back, the next start would undo what is done from now on. */
export function finishRebuild(layout: Layout): void {
  fs.rmSync(layout.rebuild, { force: true });
  syncDirectory(layout.root);
}

/** Makes the next start build queue.db anew. Never throws. */
export function planRebuild(layout: Layout): void {
  try {
    fs.closeSync(fs.openSync(layout.rebuild, "a", 0o600));
  } catch {
    // The next start sees for itself, or this one's successor does.
  }
}

function open(layout: Layout): StateDb {
  return openStateDb(layout.database, () => planRebuild(layout));
}

function isMissing({ database }: Layout): boolean {
  const found = fs.statSync(database, { throwIfNoEntry: false });
  return found === undefined || (found.isFile() && found.size === 0);
}

/** `reason`: what is told; nothing is when the database was merely missing. */
function rebuild(
  { layout, stamp, emit }: OpenStateParts,
  planned: string | undefined,
  reason?: string,
): OpenedState {
  const moved = planned ?? `${layout.corrupt}/queue-${stamp}.db`;
  writePlan(layout, moved, planned === undefined ? "w" : "r+");
  // A database beside the one that was moved already is the unfinished work of a start that was cut off.
  if (fs.existsSync(moved)) removeDatabase(layout);
  else moveAside(layout, moved);
  if (!fs.existsSync(moved)) return { db: open(layout), salvage: nothingSaved };
  const salvage = salvageFrom(moved, layout.scratch);
  const db = open(layout);
  db.transaction(() => db.setMeta("corrupt", salvage.corrupt + 1));
  emit({ kind: "corrupt", subject: "queue.db", movedTo: moved, reason: reason ?? "it was empty" });
  return { db, salvage };
}

/** Where the database was to be moved to; `undefined` when nobody had begun. */
function readPlan({ rebuild: path }: Layout): string | undefined {
  const text = fs.readFileSync(path, "utf8");
  return text.endsWith("\n") ? text.trimEnd() : undefined;
}

/**
 * Durable before the first file is moved. A plan that somebody had begun with is written over in place: were it empty for
 * an instant, a crash then would make the unfinished database the one to be saved.
 */
function writePlan({ rebuild: path, root }: Layout, moved: string, flags: "w" | "r+"): void {
  const fd = fs.openSync(path, flags, 0o600);
  fs.writeSync(fd, `${moved}\n`);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  syncDirectory(root);
}

function syncDirectory(path: string): void {
  const directory = fs.openSync(path, "r");
  fs.fsyncSync(directory);
  fs.closeSync(directory);
}

/** The write-ahead file first, durably: where the database is tells how far this came. */
function moveAside({ database, root }: Layout, moved: string): void {
  for (const suffix of ["-wal", ""]) {
    if (fs.existsSync(database + suffix)) fs.renameSync(database + suffix, moved + suffix);
    syncDirectory(root);
  }
  fs.rmSync(`${database}-shm`, { force: true, recursive: true });
}

function removeDatabase({ database }: Layout): void {
  for (const suffix of ["", "-wal", "-shm"])
    fs.rmSync(database + suffix, { force: true, recursive: true });
}
