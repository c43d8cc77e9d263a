import type { Emit } from "../../observe/events.ts";
import type { SpoolFiles } from "./files.ts";
import type { Journal } from "./journal.ts";
import { type Layout, SEGMENTS_PER_SHARD, segmentNumber, shardStart } from "./layout.ts";
import { quarantine } from "./quarantine.ts";
import { decodeRecord, type Record } from "./record.ts";
import { newRow, type Row, settledRow } from "./row.ts";
import { type Scan, type ScannedEnvelope, scanSegment } from "./segment.ts";

export interface RecoveryParts {
  readonly files: SpoolFiles;
  readonly layout: Layout;
  readonly journal: Journal;
  readonly epoch: number;
  readonly emit: Emit;
}

/** What is known of a message from elsewhere while the database is made anew. */
export interface Salvage {
  /** The damaged database could be read to its end, so that a message it does not name has ended. */
  readonly complete: boolean;
  /** The highest segment that the damaged database knew. */
  readonly indexed: number;
  row(id: string): Row | undefined;
}

function freshRow(record: Record, at: Found["at"], epoch: number): Row {
  return newRow({ ...record, size: record.prefix.length + record.bodyLength }, at, epoch);
}

/** Throws away what was being written when the last process ended: none of it was acknowledged. */
export async function sweepScratch({ files, layout }: Pick<RecoveryParts, "files" | "layout">) {
  for (const name of files.list(layout.scratch)) await files.unlink(`${layout.scratch}/${name}`);
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
    for (const file of files.list(`${layout.content}/${name}`)) {
      const number = segmentNumber(file);
      if (number !== undefined && number > after) numbers.push(number);
    }
  }
  return numbers.sort((left, right) => left - right);
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
  const { files, layout } = parts;
  const fd = files.openForRead(layout.segment(number));
  try {
    const size = files.size(fd);
    const read = (offset: number, length: number) => files.readAt(fd, length, offset);
    const scan = await scanSegment({ size, read });
    await reportDamage(number, scan, parts);
    const found: Found[] = [];
    for (const envelope of scan?.envelopes ?? []) {
      const record = readable(envelope);
      if (record === undefined) await reportRecord(number, envelope, parts);
      else
        found.push({
          record,
          at: { segment: number, offset: envelope.block.offset, length: envelope.block.length },
        });
    }
    // A reused file that a power cut gave its old name back holds nothing that was acknowledged under that name.
    if (scan !== undefined && scan.number !== number)
      return addFound(number, size, [], parts, salvage);
    // Copies are news to nobody, unless there is no database that knows where the originals went.
    const isNews = scan?.kind === "accepted" || salvage !== undefined;
    addFound(number, size, isNews ? found : [], parts, salvage);
  } finally {
    files.close(fd);
  }
}

interface Found {
  readonly record: Record;
  readonly at: { readonly segment: number; readonly offset: number; readonly length: number };
}

/** In one turn of the event loop: a segment without rows counts as ended. */
function addFound(
  number: number,
  size: number,
  found: readonly Found[],
  parts: RecoveryParts,
  salvage: Salvage | undefined,
): void {
  const { journal, epoch } = parts;
  journal.addSegment(number, size);
  for (const { record, at } of found) {
    if (journal.row(record.id) === undefined) {
      const row = salvage ? salvagedRow(record, at, epoch, salvage) : freshRow(record, at, epoch);
      if (row !== undefined) journal.add(row);
    }
    if (record.settles) applySettlement(record.settles, parts);
  }
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

function applySettlement(
  { id, settlement }: NonNullable<Record["settles"]>,
  { journal, epoch }: RecoveryParts,
): void {
  const target = journal.row(id);
  // Already applied when the count of attempts has moved on.
  if (target === undefined || target.attempts >= (settlement.attempts ?? Number.POSITIVE_INFINITY))
    return;
  journal.replace(target, settledRow(target, settlement, epoch));
}

function salvagedRow(
  record: Record,
  at: { readonly segment: number; readonly offset: number; readonly length: number },
  epoch: number,
  salvage: Salvage,
): Row | undefined {
  const known = salvage.row(record.id);
  if (known !== undefined) return { ...known, ...at };
  const ended = salvage.complete && at.segment <= salvage.indexed;
  return ended ? undefined : freshRow(record, at, epoch);
}

async function reportDamage(
  segment: number,
  scan: Scan | undefined,
  parts: RecoveryParts,
): Promise<void> {
  const problems = scan === undefined ? ["not a segment of this version"] : scan.problems;
  if (problems.length === 0) return;
  const subject = `segment-${segment}`;
  await quarantine({ subject, segment, reason: problems.join("; "), facts: {} }, parts);
}

function readable({ payload }: ScannedEnvelope): Record | undefined {
  if (payload === undefined) return undefined;
  try {
    return decodeRecord(payload);
  } catch {
    return undefined;
  }
}
