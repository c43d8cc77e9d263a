import type { Committer } from "./committer.ts";
import type { SpoolFiles } from "./files.ts";
import type { Journal } from "./journal.ts";
import type { Layout } from "./layout.ts";
import { DamagedError, type SegmentReader } from "./reader.ts";
import { decodeRecord } from "./record.ts";
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
}

/**
 * Copies what still lives in mostly dead or very small segments into one new segment, so that the space of the old ones
 * is given back. Returns how many segments were emptied; 0 when nothing is worth it. The copy is renamed into place
 * before a row points to it, and a copy that no row points to is garbage: a crash at any instant costs nothing.
 */
export async function compactOnce(parts: CompactionParts): Promise<number> {
  const chosen = choose(parts.db.wasteful(LIVE_BYTES_MAX, SEGMENTS_MAX * 4), parts.newest);
  if (chosen.length === 0) return 0;
  const entries: Entry[] = [];
  for (const segment of chosen) entries.push(...(await livingEntries(segment.number, parts)));
  if (entries.length > 0) await parts.committer.commit(entries, "copies");
  return chosen.length;
}

function choose(candidates: readonly SegmentRow[], newest: number): readonly SegmentRow[] {
  const chosen: SegmentRow[] = [];
  let copied = 0;
  let gained = 0;
  for (const segment of candidates) {
    const isDead = segment.liveBytes * 2 <= segment.bytes;
    const isSmall = segment.bytes <= COPY_BYTES_MAX / MERGE_FILES_MIN;
    if (segment.number > newest - NEWEST_SPARED || !(isDead || isSmall)) continue;
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
    if (error instanceof DamagedError) return undefined;
    throw error;
  });
  for (const [index, row] of rows.entries()) {
    const envelope = envelopes?.[index];
    if (envelope?.content.body.kind !== "bytes") continue;
    // It may have ended while its neighbours were read.
    if (journal.row(row.id)?.segment !== number) continue;
    entries.push({ id: row.id, envelope, due: row.due });
  }
  return entries;
}

async function livingRows(
  number: number,
  { files, layout, journal }: CompactionParts,
): Promise<readonly Row[]> {
  const fd = files.openForRead(layout.segment(number));
  try {
    const read = (offset: number, length: number) => files.readAt(fd, length, offset);
    const scan = await scanSegment({ size: files.size(fd), read });
    const rows: Row[] = [];
    for (const { block, payload } of scan?.envelopes ?? []) {
      const row = payload === undefined ? undefined : journal.row(decodeRecord(payload).id);
      if (row?.segment === number && row.offset === block.offset) rows.push(row);
    }
    return rows;
  } finally {
    files.close(fd);
  }
}
