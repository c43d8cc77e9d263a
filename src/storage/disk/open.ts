import { dirname } from "node:path";
import { idMaker } from "../../lib/id.ts";
import type { World } from "../../lib/world.ts";
import type { SourceBody } from "../../mail/content.ts";
import { QueueError } from "../../mail/queue-error.ts";
import type { Emit } from "../../observe/events.ts";
import { FreshMessages } from "../fresh.ts";
import type { BodyFile } from "./body-file.ts";
import type { CheckpointThread } from "./checkpoint-thread.ts";
import { Checkpointer } from "./checkpointer.ts";
import { Committer } from "./committer.ts";
import { type DiskParts, DiskStorage } from "./disk-storage.ts";
import { realFiles, type SpoolFiles } from "./files.ts";
import { Journal } from "./journal.ts";
import { type Layout, layoutOf } from "./layout.ts";
import { lockSpool } from "./lock.ts";
import { finishRebuild, type OpenedState, openState } from "./open-state.ts";
import { SegmentReader } from "./reader.ts";
import {
  indexSegment,
  type RecoveryParts,
  reportMissing,
  segmentsAfter,
  sweepScratch,
  syncNames,
} from "./recovery.ts";
import { noticingFull, openReserve, type Reserve } from "./reserve.ts";
import type { Salvage } from "./salvage.ts";
import { ScheduleReader } from "./schedule.ts";
import { SpaceWatch } from "./space.ts";
import { Spares } from "./spares.ts";
import type { StateDb } from "./state-db.ts";
import type { Trouble } from "./trouble.ts";

/** Of the disk engine. */
export interface DiskStorageOptions {
  /** Made when it is missing, readable by its owner only. */
  readonly directory: string;
  /** Octets of fresh messages that stay in memory for their first attempt. */
  readonly freshBytesMax: number;
  /** Below this many free octets new mail is refused. */
  readonly freeBytesMin: number;
  /** Below this share of the file system, in percent, new mail is refused. */
  readonly freePercentMin: number;
}

export interface DiskStorageWorld {
  readonly world: World;
  readonly emit: Emit;
  readonly files?: SpoolFiles;
  /** Starts what makes checkpoints; a thread of the platform without it. */
  readonly checkpoints?: () => CheckpointThread;
  /** So many rows are written between two checkpoints. */
  readonly checkpointRows?: number;
}

/** Rows that a start keeps in memory before it writes them to queue.db. */
const BACKLOG_MAX = 10_000;

/**
 * Opens a spool directory: takes its lock (`LockedError` when somebody has it), throws away what was never acknowledged,
 * and learns of the segments that were renamed into place just before the last process ended. Does not read the
 * queue, so that it takes the same time however deep that is.
 */
export async function openDiskStorage(
  options: DiskStorageOptions,
  { world, emit, files = realFiles, checkpoints, checkpointRows }: DiskStorageWorld,
): Promise<DiskStorage> {
  const layout = layoutOf(options.directory);
  await makeDirectories(files, layout);
  const unlock = lockSpool(layout.lock);
  let opened: OpenedState | undefined;
  try {
    await sweepScratch({ files, layout });
    const reserve = await openReserve(files, layout);
    const hasSegments = () => segmentsAfter(0, { files, layout }).length > 0;
    opened = openState({ layout, stamp: world.clock.now(), hasSegments, emit });
    return await openOver(opened, options, {
      ...{ world, emit, files, layout, unlock, reserve },
      checkpointer: new Checkpointer(files, layout, checkpoints, checkpointRows),
    });
  } catch (error) {
    opened?.db.close();
    unlock();
    throw error;
  }
}

interface Base
  extends Pick<DiskParts, "world" | "emit" | "files" | "layout" | "unlock" | "checkpointer"> {
  readonly reserve: Reserve;
}

async function openOver(
  opened: OpenedState,
  options: DiskStorageOptions,
  base: Base,
): Promise<DiskStorage> {
  const { files, layout, world, reserve } = base;
  const { salvage } = opened;
  const spares = new Spares(files, layout);
  const db = noticingFull(opened.db, () => {
    spares.drop();
    void reserve.spend();
  });
  const epoch = db.meta("epoch");
  db.transaction(() => db.unleaseAll(epoch));
  const trouble: Trouble = { reason: undefined };
  const reader = new SegmentReader(files, layout, ({ id }, error) => storage.onDamage(id, error));
  const journal = openJournal({ ...base, db, trouble, reader, spares });
  const newest = await indexUnknown({ ...base, db, journal, epoch }, salvage);

  const bodyFiles = new WeakMap<SourceBody, BodyFile>();
  const committer = new Committer({
    files,
    layout,
    bodyFiles,
    spares,
    firstNumber: newest + 1,
    random: world.random,
    onSegment: (number, bytes) => journal.addSegment(number, bytes),
    onJob: (job) => storage.onJob(job),
  });
  const space = new SpaceWatch(files, layout.root, options, { clock: world.clock, reserve });
  await space.measure();
  const storage = new DiskStorage({
    ...base,
    newId: idMaker(world.clock.now, world.random),
    db,
    journal,
    committer,
    bodyFiles,
    reader,
    space,
    trouble,
    schedule: new ScheduleReader(() => db),
    fresh: new FreshMessages(options.freshBytesMax),
  });
  void storage.sweepOrphans();
  return storage;
}

/** Brings queue.db up to date with the segments on disk, and returns the highest number in use. */
async function indexUnknown(
  parts: Omit<RecoveryParts, "journal"> & { readonly journal: Journal; readonly db: StateDb },
  salvage: Salvage | undefined,
): Promise<number> {
  const { journal, db, layout } = parts;
  const known = salvage === undefined ? db.meta("indexed") : 0;
  const unknown = segmentsAfter(known, parts);
  await syncNames(unknown, parts);
  for (const number of unknown) {
    await indexSegment(number, parts, salvage);
    if (journal.backlog() > BACKLOG_MAX) journal.apply();
  }
  if (salvage !== undefined) await reportMissing(salvage, parts);
  journal.apply();
  if (salvage !== undefined) {
    salvage.close();
    await journal.durable();
    finishRebuild(layout);
  }
  return Math.max(db.meta("indexed"), unknown.at(-1) ?? 0);
}

function openJournal(
  parts: Base & Pick<DiskParts, "db" | "trouble" | "reader"> & { readonly spares: Spares },
): Journal {
  const { files, layout, emit, world, db, trouble, checkpointer, reader, spares, reserve } = parts;
  return new Journal({
    db: () => db,
    clock: world.clock,
    sync: () => checkpointer.sync(),
    onApplied: (rows) => checkpointer.note(rows),
    onDead(segments) {
      for (const number of segments) {
        const inUse = reader.drop(number);
        if (!inUse && !reserve.isSpent && spares.offer(number)) continue;
        // A file that stays is swept as an orphan later; nothing depends on its going.
        files.unlink(layout.segment(number)).catch(() => undefined);
      }
    },
    onTrouble(error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (trouble.reason !== undefined) return;
      trouble.reason = "the state of the queue cannot be written";
      emit({ kind: "storage", state: "failing", operation: "settle", reason });
    },
    onRecovered() {
      trouble.reason = undefined;
      emit({ kind: "storage", state: "recovered", operation: "settle", reason: "" });
    },
  });
}

/**
 * Their names survive a power cut, like all that will be in them, also when the process that made them was killed on the way:
 * whatever is there says that the one before it is durable.
 */
async function makeDirectories(files: SpoolFiles, layout: Layout): Promise<void> {
  const { root, scratch, content, corrupt } = layout;
  const make = (path: string) => files.exists(path) || files.makeDirectory(path);
  const isNew = !files.exists(content);
  try {
    make(root);
    if (isNew) await files.syncDirectory(dirname(root));
    for (const path of [scratch, content, corrupt]) make(path);
    await files.syncDirectory(root);
  } catch (cause) {
    throw new QueueError(`cannot make the spool directory ${root}`, { cause });
  }
}
