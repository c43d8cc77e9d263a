import * as fs from "node:fs";
import { QueueError } from "../../mail/queue-error.ts";
import type { Emit } from "../../observe/events.ts";
import { newRow, settledRow } from "../message-row.ts";
import { type Record, readRecord } from "../record.ts";
import { isNoFile, namesIn, type SpoolFiles } from "./files.ts";
import type { Journal } from "./journal.ts";
import { type Layout, SEGMENTS_PER_SHARD, segmentIn, shardStart } from "./layout.ts";
import { quarantine } from "./quarantine.ts";
import type { Row } from "./row.ts";
import type { Salvage } from "./salvage.ts";
import { type Scan, type ScannedEnvelope, scanSegment } from "./segment.ts";

/** More notes than these help nobody; the rest is only counted. */
const NOTES_MAX = 1000;
const NOTES_OF_SEGMENT_MAX = 100;

export interface RecoveryParts {
  readonly files: SpoolFiles;
  readonly layout: Layout;
  readonly journal: Journal;
  readonly epoch: number;
  readonly emit: Emit;
}

/** Throws away what was being written when the last process ended: none of it was acknowledged. */
export async function sweepScratch({ files, layout }: Pick<RecoveryParts, "files" | "layout">) {
  for (const name of files.list(layout.scratch)) {
    const path = `${layout.scratch}/${name}`;
    // A directory is none of ours, and in the way of a file that is to have its name.
    await files.unlink(path).catch(() => fs.rmSync(path, { recursive: true, force: true }));
  }
}

/** The numbers of the segments on disk that are greater than `after`, in order. Looks only into the shards they can be in. */
export function segmentsAfter(
  after: number,
  { files, layout }: Pick<RecoveryParts, "files" | "layout">,
): readonly number[] {
  const numbers: number[] = [];
  for (const name of files.list(layout.content)) {
    const start = shardStart(name);
    if (start === undefined || start + SEGMENTS_PER_SHARD <= after) continue;
    for (const file of namesIn(files, `${layout.content}/${name}`)) {
      const number = segmentIn(name, file);
      if (number !== undefined && number > after) numbers.push(number);
    }
  }
  return numbers.sort((left, right) => left - right);
}

/**
 * Makes it durable that these segments are where they are. A process that was killed had perhaps renamed them and no more:
 * a power cut that takes one back must not find queue.db with what it said, such as the settlement that a bounce carries (P4).
 * The name of the directory that they are in was durable before.
 */
export async function syncNames(
  numbers: readonly number[],
  { files, layout }: Pick<RecoveryParts, "files" | "layout">,
): Promise<void> {
  for (const shard of new Set(numbers.map(layout.shard))) await files.syncDirectory(shard);
}

/**
 * Tells the journal of a segment that was renamed into place just before the last process ended. Writing the same id
 * twice is a no-op, and a record that carries a settlement is that settlement's proof (P4).
 */
export async function indexSegment(
  number: number,
  parts: RecoveryParts,
  salvage?: Salvage,
): Promise<void> {
  const { size, scan, problem } = await scanFile(number, parts);
  // A reused file that a power cut gave its old name back holds nothing that was acknowledged under that name.
  const isAnother = scan?.number !== undefined && scan.number !== number;
  if (isAnother) return addFound(number, size, [], parts, salvage);
  await reportDamage(number, scan, problem, parts);
  const { found, damaged } = sorted(number, scan?.envelopes ?? []);
  for (const envelope of damaged.slice(0, NOTES_OF_SEGMENT_MAX)) {
    await reportRecord(number, envelope, parts);
  }
  for (const _ of damaged.slice(NOTES_OF_SEGMENT_MAX)) parts.journal.noteCorrupt();
  // Copies are news to nobody, unless there is no database that knows where the originals went.
  const isNews = scan?.kind === "accepted" || salvage !== undefined;
  addFound(
    number,
    size,
    isNews ? found : found.filter((one) => isOnly(one, parts)),
    parts,
    salvage,
  );
}

function sorted(segment: number, envelopes: readonly ScannedEnvelope[]) {
  const found: Found[] = [];
  const damaged: ScannedEnvelope[] = [];
  for (const envelope of envelopes) {
    const record = envelope.payload && readRecord(envelope.payload);
    const { offset, length } = envelope.block;
    if (record) found.push({ record, at: { segment, offset, length } });
    else damaged.push(envelope);
  }
  return { found, damaged };
}

/** Tells of the rows of a damaged database whose records are nowhere on the disk. */
export async function reportMissing(salvage: Salvage, parts: RecoveryParts): Promise<void> {
  let notes = 0;
  for (const row of salvage.missing()) {
    notes += 1;
    if (notes > NOTES_MAX) parts.journal.noteCorrupt();
    else {
      const facts = { ...row };
      await quarantine({ subject: row.id, reason: "its segment is gone", facts }, parts);
    }
  }
}

interface Found {
  readonly record: Record;
  readonly at: Pick<Row, "segment" | "offset" | "length">;
}

/**
 * A disk that cannot read is sick, and what is on it is perhaps sound: the start fails and can be tried again, rather than
 * that acknowledged mail leaves the queue. Only bytes that are wrong or missing are damage.
 */
async function scanFile(
  number: number,
  { files, layout }: RecoveryParts,
): Promise<{ size: number; scan: Scan | undefined; problem?: string }> {
  const path = layout.segment(number);
  const fd = openSegment(path, files);
  if (fd === undefined) return { size: 0, scan: undefined, problem: "it is no file" };
  try {
    const size = files.size(fd);
    const read = (offset: number, length: number) => files.readAt(fd, length, offset);
    return { size, scan: await scanSegment({ size, read }) };
  } catch (cause) {
    const advice = "try again, or let `slimta-queue fsck --repair` move it aside";
    throw new QueueError(`cannot read ${path}; ${advice}`, { cause });
  } finally {
    files.close(fd);
  }
}

function openSegment(path: string, files: SpoolFiles): number | undefined {
  try {
    return files.openForRead(path);
  } catch (error) {
    if (isNoFile(error)) return undefined;
    throw error;
  }
}

/** Whether a copy is all there is: the database is older than the copy, and the original is gone. */
function isOnly({ record, at }: Found, { journal, files, layout }: RecoveryParts): boolean {
  const row = journal.row(record.id);
  if (row === undefined || row.segment >= at.segment) return false;
  return !files.exists(layout.segment(row.segment));
}

/** In one turn of the event loop: a segment without rows counts as ended. */
function addFound(
  number: number,
  size: number,
  found: readonly Found[],
  parts: RecoveryParts,
  salvage: Salvage | undefined,
): void {
  const { journal } = parts;
  journal.addSegment(number, size);
  for (const one of found) {
    const known = journal.row(one.record.id);
    if (known === undefined) addRow(one, parts, salvage);
    else if (isOnly(one, parts)) journal.move(known, one.at);
    if (one.record.settles) applySettlement(one.record.settles, number, parts, salvage);
  }
}

function addRow({ record, at }: Found, parts: RecoveryParts, salvage: Salvage | undefined): void {
  const { journal, epoch } = parts;
  const saved = salvage?.row(record.id);
  const hasEnded = salvage?.complete === true && at.segment <= salvage.indexed;
  if (saved === undefined && hasEnded) return;
  const size = record.prefix.length + record.bodyLength;
  journal.add({ ...(saved ?? newRow({ ...record, size }, epoch)), ...at });
}

/** A settlement that the saved row has seen already must not be repeated: it may have been followed by others. */
function applySettlement(
  { id, settlement }: NonNullable<Record["settles"]>,
  segment: number,
  { journal, epoch }: RecoveryParts,
  salvage: Salvage | undefined,
): void {
  const row = journal.row(id);
  if (row === undefined) return;
  const wasSeen = salvage?.row(id) !== undefined && segment <= salvage.indexed;
  if (!wasSeen) journal.replace(row, settledRow(row, settlement, epoch));
}

async function reportRecord(
  segment: number,
  { block }: ScannedEnvelope,
  parts: RecoveryParts,
): Promise<void> {
  const subject = `segment-${segment}-${block.offset}`;
  const reason = "an envelope fails its checksum or cannot be understood";
  await quarantine({ subject, segment, reason, facts: { offset: block.offset } }, parts);
}

async function reportDamage(
  segment: number,
  scan: Scan | undefined,
  problem: string | undefined,
  parts: RecoveryParts,
): Promise<void> {
  const problems =
    scan === undefined ? [problem ?? "not a segment of this version"] : scan.problems;
  if (problems.length === 0) return;
  const subject = `segment-${segment}`;
  await quarantine({ subject, segment, reason: problems.join("; "), facts: {} }, parts);
}
