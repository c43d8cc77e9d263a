import { readRecord } from "../record.ts";
import { DamagedError } from "../store-error.ts";
import type { Committer } from "./committer.ts";
import { isNoFile, type SpoolFiles } from "./files.ts";
import type { Journal } from "./journal.ts";
import type { Layout } from "./layout.ts";
import type { SegmentReader } from "./reader.ts";
import type { Row } from "./row.ts";
import { scanSegment } from "./segment.ts";
import type { Entry } from "./segment-writer.ts";
import type { SegmentRow, StateDb } from "./state-db.ts";

/** Segments in which more octets than this are alive are left alone. */
const LIVE_BYTES_MAX = 2 * 1024 * 1024;
/** Copied in one go. */
const SEGMENTS_MAX = 64;
const COPY_BYTES_MAX = 4 * 1024 * 1024;
/** The newest segments are still being delivered from: most of them end by themselves. */
const NEWEST_SPARED = 64;
/** Not worth a copy: less than this is gained. */
const GAIN_BYTES_MIN = 256 * 1024;
/** So many small files are worth being one, even when nothing in them is dead. */
const MERGE_FILES_MIN = 32;

export interface CompactionParts {
  readonly db: StateDb;
  readonly journal: Journal;
  readonly committer: Committer;
  readonly reader: SegmentReader;
  readonly files: SpoolFiles;
  readonly layout: Layout;
  /** The newest segment there is. */
  readonly newest: number;
  /** Segments to pass over; those that cannot be emptied are added. */
  readonly spared: Set<number>;
}

/**
 * Copies what still lives in mostly dead or very small segments into one new segment, so that the space of the old ones
 * is given back. Returns how many segments were looked at; 0 when nothing is worth it. The copy is renamed into place
 * before a row points to it, and a copy that no row points to is garbage: a crash at any instant costs nothing.
 */
export async function compactOnce(parts: CompactionParts): Promise<number> {
  const candidates = parts.db.wasteful(LIVE_BYTES_MAX, SEGMENTS_MAX * 4 + parts.spared.size);
  const chosen = choose(candidates, parts);
  if (chosen.length === 0) return 0;
  const entries: Entry[] = [];
  for (const { number } of chosen) entries.push(...(await livingEntries(number, parts)));
  if (entries.length > 0) await parts.committer.commit(entries, "copies");
  parts.journal.apply();
  for (const { number } of chosen) {
    if (parts.db.segment(number) !== undefined) parts.spared.add(number);
  }
  return chosen.length;
}

function choose(
  candidates: readonly SegmentRow[],
  { newest, spared }: CompactionParts,
): readonly SegmentRow[] {
  const chosen: SegmentRow[] = [];
  let copied = 0;
  let gained = 0;
  for (const segment of candidates) {
    const isDead = segment.liveBytes * 2 <= segment.bytes;
    const isSmall = segment.bytes <= COPY_BYTES_MAX / MERGE_FILES_MIN;
    const isSpared = segment.number > newest - NEWEST_SPARED || spared.has(segment.number);
    if (isSpared || !(isDead || isSmall)) continue;
    if (chosen.length === SEGMENTS_MAX || copied + segment.liveBytes > COPY_BYTES_MAX) break;
    chosen.push(segment);
    copied += segment.liveBytes;
    gained += segment.bytes - segment.liveBytes;
  }
  const worthIt = gained >= GAIN_BYTES_MIN + copied / 4 || chosen.length >= MERGE_FILES_MIN;
  return worthIt ? chosen : [];
}

/** The messages of a segment that a row still points to. Damaged ones stay where they are until somebody needs them. */
async function livingEntries(number: number, parts: CompactionParts): Promise<readonly Entry[]> {
  const { journal, reader } = parts;
  const entries: Entry[] = [];
  const rows = await livingRows(number, parts);
  const envelopes = await reader.readAll(rows).catch((error: unknown) => {
    // The last of its messages may have ended meanwhile.
    if (error instanceof DamagedError) return [];
    throw error;
  });
  for (const [index, row] of rows.entries()) {
    const envelope = envelopes[index];
    // It may have ended while its neighbours were read.
    if (envelope === undefined || journal.row(row.id)?.segment !== number) continue;
    const copyOf = { segment: number, offset: row.offset };
    entries.push({ id: row.id, envelope, due: row.due, copyOf });
  }
  return entries;
}

async function livingRows(
  number: number,
  { files, layout, journal }: CompactionParts,
): Promise<readonly Row[]> {
  const fd = openIfThere(files, layout.segment(number));
  if (fd === undefined) return [];
  try {
    const read = (offset: number, length: number) => files.readAt(fd, length, offset);
    const scan = await scanSegment({ size: files.size(fd), read });
    const rows: Row[] = [];
    for (const { block, payload } of scan?.envelopes ?? []) {
      const id = payload && readRecord(payload)?.id;
      const row = id === undefined ? undefined : journal.row(id);
      if (row?.segment === number && row.offset === block.offset) rows.push(row);
    }
    return rows;
  } finally {
    files.close(fd);
  }
}

/** It may have ended since it was chosen. */
function openIfThere(files: SpoolFiles, path: string): number | undefined {
  try {
    return files.openForRead(path);
  } catch (error) {
    if (isNoFile(error)) return undefined;
    throw error;
  }
}
