import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import type { World } from "../../lib/world.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { realFiles, type SpoolFiles } from "./files.ts";
import type { Check } from "./fsck-check.ts";
import { checkRows, checkTotals } from "./fsck-rows.ts";
import { checkSegments } from "./fsck-segments.ts";
import { layoutOf } from "./layout.ts";
import { lockSpool } from "./lock.ts";
import { openDiskStorage } from "./open.ts";
import { planRebuild } from "./open-state.ts";
import { segmentsAfter } from "./recovery.ts";
import { openStateDb, type StateDb } from "./state-db.ts";

export interface FsckOptions {
  /** Puts right what can be, and moves aside what cannot. */
  readonly repair: boolean;
}

export interface FsckParts {
  readonly world: World;
  readonly files?: SpoolFiles;
  /** Takes one line for each thing that is found or done. */
  readonly report: (line: string) => void;
}

export interface FsckReport {
  readonly segments: number;
  readonly messages: number;
  /** Things that are wrong. */
  readonly damage: number;
  /** Things that a crash leaves behind and the next start tidies up. */
  readonly leftovers: number;
  /** What was wrong is put right, or moved aside: the last pass found nothing more. */
  readonly repaired: boolean;
}

/**
 * Checks a whole spool that no daemon uses: every checksum of every segment, every row against its record, counts,
 * permissions, leftovers. Takes the spool's lock (`LockedError`). Memory is bounded: it reads in pages. Without `repair`
 * nothing is changed.
 */
export async function fsckSpool(
  directory: string,
  { repair }: FsckOptions,
  parts: FsckParts,
): Promise<FsckReport> {
  const layout = layoutOf(directory);
  if (!fs.existsSync(layout.content)) throw new QueueError(`there is no spool at ${directory}`);
  const counts = { damage: 0, leftovers: 0 };
  const check: Check = {
    layout,
    files: parts.files ?? realFiles,
    repair,
    damage(text) {
      counts.damage += 1;
      parts.report(`damage: ${text}`);
    },
    leftover(text) {
      counts.leftovers += 1;
      parts.report(`leftover: ${text}`);
    },
  };
  const found = () => counts.damage + counts.leftovers;
  let seen = await checkLocked(check);
  const isDirty = found() > 0;
  let before = 0;
  for (let pass = 1; repair && found() > before && pass < PASSES_MAX; pass += 1) {
    before = found();
    await startOnce(directory, parts);
    // What the start has found again was not looked at yet.
    seen = await checkLocked(check);
  }
  return { ...seen, ...counts, repaired: repair && isDirty && found() === before };
}

/** The first pass mends what it sees, the second what came to light by that. More are for what nobody has thought of. */
const PASSES_MAX = 4;

async function checkLocked(check: Check): Promise<{ segments: number; messages: number }> {
  const unlock = lockSpool(check.layout.lock);
  try {
    return await checkAll(check);
  } finally {
    unlock();
  }
}

async function checkAll(check: Check): Promise<{ segments: number; messages: number }> {
  const { layout } = check;
  checkPermissions(check);
  checkScratch(check);
  const db = openChecked(check);
  try {
    const segments = await checkSegments(check, db);
    if (db === undefined) return { segments, messages: 0 };
    const messages = await checkRows(check, db);
    checkTotals(check, layout.database);
    return { segments, messages };
  } finally {
    db?.close();
  }
}

/** Indexes what queue.db does not know, makes a damaged one anew and sweeps, exactly as the daemon would. */
async function startOnce(directory: string, { world, report, files }: FsckParts): Promise<void> {
  const storage = await openDiskStorage(
    { directory, freshBytesMax: 0, freeBytesMin: 0, freePercentMin: 0 },
    {
      world,
      ...(files && { files }),
      emit: (event) => {
        if (event.kind === "corrupt") report(`moved: ${event.subject} to ${event.movedTo}`);
      },
    },
  );
  await storage.sweepOrphans();
  await storage.close();
}

const OTHERS = 0o077;

function checkPermissions({ layout, repair, damage }: Check): void {
  const { root, scratch, content, corrupt, database } = layout;
  for (const path of [root, scratch, content, corrupt, database]) {
    const mode = fs.existsSync(path) ? fs.statSync(path).mode : 0;
    if ((mode & OTHERS) === 0) continue;
    damage(`${path} may be read by others (mode ${(mode & 0o777).toString(8)})`);
    if (repair) fs.chmodSync(path, mode & 0o700);
  }
}

function checkScratch({ layout, files, leftover }: Check): void {
  const names = files.exists(layout.scratch) ? files.list(layout.scratch) : [];
  if (names.length > 0) leftover(`${names.length} files in ${layout.scratch}`);
}

/** `undefined`: it cannot be used; with `repair` the start behind the check makes it anew. */
function openChecked(check: Check): StateDb | undefined {
  const { layout, repair, damage } = check;
  const problem = problemOf(check);
  if (problem === undefined) return openStateDb(layout.database);
  damage(`${layout.database}: ${problem}`);
  if (repair) planRebuild(layout);
  return undefined;
}

function problemOf({ layout, files }: Check): string | undefined {
  const { database } = layout;
  if (fs.existsSync(layout.rebuild)) return "it is known to be damaged, or was being made anew";
  if (!fs.existsSync(database) || fs.statSync(database).size === 0) {
    return segmentsAfter(0, { files, layout }).length > 0 ? "it is missing" : undefined;
  }
  try {
    const db = new Database(database, { readwrite: true, create: false });
    try {
      const { integrity_check: first } = db.query("PRAGMA integrity_check(1)").get() as {
        integrity_check: string;
      };
      return first === "ok" ? undefined : first;
    } finally {
      db.close();
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
