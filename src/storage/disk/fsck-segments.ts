import * as fs from "node:fs";
import { codeOf } from "../../lib/error-code.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { readRecord } from "../record.ts";
import { isNoFile } from "./files.ts";
import type { Check } from "./fsck-check.ts";
import { quarantineDamage } from "./fsck-quarantine.ts";
import { segmentIn, shardStart } from "./layout.ts";
import { keepSegment, keptPath } from "./quarantine.ts";
import {
  encodeFileHeader,
  HEADER_DAMAGED,
  type Scan,
  type ScannedEnvelope,
  scanSegment,
} from "./segment.ts";
import type { StateDb } from "./state-db.ts";

/** Compares every checksum of every segment on disk with its bytes; returns how many segments that were. */
export async function checkSegments(check: Check, db: StateDb | undefined): Promise<number> {
  const { files, layout } = check;
  let count = 0;
  for (const shard of files.list(layout.content)) {
    const directory = `${layout.content}/${shard}`;
    if (shardStart(shard) === undefined || !isKind(directory, "isDirectory")) {
      moveStranger(directory, "is not the spool's", check);
      continue;
    }
    for (const name of files.list(directory)) {
      const number = segmentIn(shard, name);
      if (number === undefined || !isKind(`${directory}/${name}`, "isFile")) {
        moveStranger(`${directory}/${name}`, "is no segment", check);
        continue;
      }
      await checkSegment(number, check, db);
      count += 1;
    }
  }
  return count;
}

function isKind(path: string, kind: "isFile" | "isDirectory"): boolean {
  try {
    return fs.statSync(path)[kind]();
  } catch (error) {
    if (isNoFile(error)) return false;
    throw error;
  }
}

/** What lies among the segments and is none. Nobody knows whose it is, so it is kept. */
function moveStranger(path: string, what: string, { layout, repair, leftover }: Check): void {
  leftover(`${path} ${what}`);
  if (!repair) return;
  const name = path.slice(layout.content.length + 1).replaceAll("/", "-");
  let target = `${layout.corrupt}/${name}`;
  for (let copy = 1; fs.lstatSync(target, { throwIfNoEntry: false }); copy += 1) {
    target = `${layout.corrupt}/${name}.${copy}`;
  }
  fs.renameSync(path, target);
}

async function checkSegment(number: number, check: Check, db: StateDb | undefined): Promise<void> {
  const path = check.layout.segment(number);
  const standing = db ? standingOf(number, db) : "there is no database that knows it";
  if (db && standing !== undefined) check.leftover(`${path}: ${standing}`);
  if (standing === ORPHAN) return;
  const scan = await scanFile(path, check);
  if (scan === "unreadable") return await putAside(number, standing, check);
  // Each message that suffers is found by its row; what else is damaged nobody needs.
  const tell = tellOnce(number, standing === undefined ? check.leftover : check.damage, check);
  if (scan === undefined) {
    tell(`${path}: it is no segment of this version`);
    return;
  }
  if (scan.number === undefined) await mendHeader(number, scan, check);
  for (const problem of scan.problems) {
    if (problem !== HEADER_DAMAGED) tell(`${path}: ${problem}`);
  }
  for (const envelope of scan.envelopes) {
    await checkEnvelope(envelope, scan, number, { check, db, tell });
  }
}

/** What is wrong with a segment beside its messages is told until the segment is kept in `corrupt/` for whoever wants to look. */
function tellOnce(
  number: number,
  tell: (text: string) => void,
  { layout, files, repair }: Check,
): (text: string) => void {
  if (files.exists(keptPath(number, layout))) return () => undefined;
  return (text) => {
    tell(text);
    if (repair) keepSegment(number, files, layout);
  };
}

/** The name says the number, the blocks say the salt, and what is not known to be a copy counts as accepted. */
async function mendHeader(
  number: number,
  { kind, salt }: Scan,
  { layout, files, repair, damage }: Check,
): Promise<void> {
  const path = layout.segment(number);
  damage(`${path}: ${HEADER_DAMAGED}`);
  if (!repair) return;
  const fd = files.openForReuse(path);
  try {
    files.writeAt(fd, encodeFileHeader({ kind, number, salt }), 0);
    await files.syncData(fd);
  } finally {
    files.close(fd);
  }
}

const ORPHAN = "no message needs it";

function standingOf(number: number, db: StateDb): string | undefined {
  if (number > db.meta("indexed")) return "the database does not know it";
  return db.segment(number) === undefined ? ORPHAN : undefined;
}

async function checkEnvelope(
  { block, payload }: ScannedEnvelope,
  { damagedBodies }: Scan,
  number: number,
  to: {
    readonly check: Check;
    readonly db: StateDb | undefined;
    readonly tell: (text: string) => void;
  },
): Promise<void> {
  const { check, db, tell } = to;
  const path = check.layout.segment(number);
  const record = payload && readRecord(payload);
  if (record === undefined) {
    tell(`${path}: the envelope at offset ${block.offset} is damaged`);
    return;
  }
  const row = db?.row(record.id);
  const isNeeded = db === undefined || row?.segment === number;
  if (!damagedBodies.has(record.bodyOffset) || !isNeeded) return;
  check.damage(`${path}: the body of message ${record.id} is damaged`);
  if (check.repair && db && row)
    await quarantineDamage(row, "its body fails its checksum", check, db);
}

/**
 * A segment that the disk cannot read. One that the database does not know would keep the daemon from starting, so that
 * what could be had of it is in `corrupt/` then; the messages of another are tried again and again, each by itself.
 */
async function putAside(number: number, standing: string | undefined, check: Check): Promise<void> {
  const { layout, files, repair, damage } = check;
  const path = layout.segment(number);
  damage(`${path}: the disk cannot read it (EIO)`);
  if (!repair || standing === undefined) return;
  const kept = keepSegment(number, files, layout);
  if (kept === undefined) throw new QueueError(`cannot keep ${path} in ${layout.corrupt}`);
  await files.syncDirectory(layout.corrupt);
  await files.unlink(path);
}

async function scanFile(path: string, { files }: Check): Promise<Scan | undefined | "unreadable"> {
  const fd = files.openForRead(path);
  try {
    const read = (offset: number, length: number) => files.readAt(fd, length, offset);
    return await scanSegment({ size: files.size(fd), read }, { bodies: true });
  } catch (error) {
    if (codeOf(error) !== "EIO") throw error;
    return "unreadable";
  } finally {
    files.close(fd);
  }
}
