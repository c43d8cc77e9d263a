import { crc32 } from "node:zlib";

/**
 * The layout of a segment file: a file header, then blocks, each with a checked header of its own, then one `DONE` block.
 *
 *     file header   magic "SLQSEG", version, kind, segment number, salt, checksum
 *     BODY          the bytes of one message as received
 *     ENVL          one envelope: JSON, then its header prefix; it names its BODY block by offset
 *     DONE          the end; a file without it was cut short
 *
 * Several ENVL blocks may name one BODY: the parts that policies made out of one transaction share it. A segment never
 * changes after it was renamed into place.
 *
 * Every block repeats the file's salt, which is rolled for each segment: behind damage only blocks with that salt count.
 * Without it a sender could put a whole record into a message's body, and what a reused file held before would come back.
 */
export type BlockType = "BODY" | "ENVL" | "DONE";

/** Copies are records that compaction moved here: they make no message that the state database does not know. */
export type SegmentKind = "accepted" | "copies";

export interface Block {
  readonly type: BlockType;
  /** Where the block's header starts. */
  readonly offset: number;
  /** Octets of the payload. */
  readonly length: number;
  readonly crc: number;
  readonly salt: number;
}

export interface FileHeader {
  readonly kind: SegmentKind;
  readonly number: number;
  readonly salt: number;
}

export const FILE_HEADER_BYTES = 24;
export const BLOCK_HEADER_BYTES = 24;

const MAGIC = "SLQSEG";
const VERSION = 1;
const KINDS: readonly SegmentKind[] = ["accepted", "copies"];
const TYPES: readonly BlockType[] = ["BODY", "ENVL", "DONE"];
const HIGH_WORD = 2 ** 32;

/** A number in [0, 1) as a salt. */
export function saltOf(roll: number): number {
  return Math.floor(roll * HIGH_WORD);
}

export function encodeFileHeader({ kind, number, salt }: FileHeader): Uint8Array {
  const bytes = new Uint8Array(FILE_HEADER_BYTES);
  for (let index = 0; index < MAGIC.length; index += 1) bytes[index] = MAGIC.charCodeAt(index);
  bytes[6] = VERSION;
  bytes[7] = KINDS.indexOf(kind);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, Math.floor(number / HIGH_WORD));
  view.setUint32(12, number % HIGH_WORD);
  view.setUint32(16, salt);
  view.setUint32(20, crc32(bytes.subarray(0, 20)));
  return bytes;
}

/** `undefined`: these are not the first bytes of a segment that this version reads, or they are damaged. */
export function parseFileHeader(bytes: Uint8Array): FileHeader | undefined {
  if (bytes.length < FILE_HEADER_BYTES || bytes[6] !== VERSION) return undefined;
  for (let index = 0; index < MAGIC.length; index += 1) {
    if (bytes[index] !== MAGIC.charCodeAt(index)) return undefined;
  }
  const kind = KINDS[bytes[7] ?? -1];
  const view = viewOf(bytes);
  if (kind === undefined || view.getUint32(20) !== crc32(bytes.subarray(0, 20))) return undefined;
  const number = view.getUint32(8) * HIGH_WORD + view.getUint32(12);
  return { kind, number, salt: view.getUint32(16) };
}

/** Writes a block's header at `at`; the header carries a checksum of itself, so that garbage is never taken for one. */
export function writeBlockHeader(
  target: Uint8Array,
  at: number,
  { type, length, crc, salt }: Omit<Block, "offset">,
): void {
  for (let index = 0; index < 4; index += 1) target[at + index] = type.charCodeAt(index);
  const view = viewOf(target);
  view.setUint32(at + 4, crc);
  view.setUint32(at + 8, Math.floor(length / HIGH_WORD));
  view.setUint32(at + 12, length % HIGH_WORD);
  view.setUint32(at + 16, salt);
  view.setUint32(at + 20, crc32(target.subarray(at, at + 20)));
}

/** `undefined`: there is no intact block header at `at`. `base` is where `bytes` starts in the file. */
export function parseBlockHeader(bytes: Uint8Array, at: number, base = 0): Block | undefined {
  if (at + BLOCK_HEADER_BYTES > bytes.length) return undefined;
  const view = viewOf(bytes);
  if (view.getUint32(at + 20) !== crc32(bytes.subarray(at, at + 20))) return undefined;
  const type = TYPES.find((name) => holdsType(bytes, at, name));
  if (type === undefined) return undefined;
  const length = view.getUint32(at + 8) * HIGH_WORD + view.getUint32(at + 12);
  const [crc, salt] = [view.getUint32(at + 4), view.getUint32(at + 16)];
  return { type, offset: base + at, length, crc, salt };
}

/** Where the block after this one starts. */
export function blockEnd(block: Block): number {
  return block.offset + BLOCK_HEADER_BYTES + block.length;
}

export interface ScannedEnvelope {
  readonly block: Block;
  /** `undefined`: the block's checksum does not hold. */
  readonly payload: Uint8Array | undefined;
}

export interface Scan {
  readonly kind: SegmentKind;
  /** The number that the file was written under; `undefined` when its header is damaged. */
  readonly number: number | undefined;
  readonly salt: number;
  readonly envelopes: readonly ScannedEnvelope[];
  /** What is wrong with the file as a whole; empty when it is intact. */
  readonly problems: readonly string[];
  /** Offsets of the BODY blocks whose checksum does not hold; bodies are only looked at when a scan is asked to. */
  readonly damagedBodies: ReadonlySet<number>;
}

/** Random access to a file of known size. */
export interface Source {
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

export const HEADER_DAMAGED = "its file header is damaged";

/**
 * Of an ENVL block, which is read in one piece: a hundred thousand recipients, each with the longest address and ORCPT, and
 * what was put on top of the header.
 */
export const ENVELOPE_BYTES_MAX = 128 * 1024 * 1024;

/** How far a scan reads ahead when it looks for the next intact header behind a damaged one. */
const RESYNC_BYTES = 1024 * 1024;
/** How much of a body is in memory while its checksum is computed. */
const BODY_BYTES = 256 * 1024;

/**
 * Finds every envelope of a segment. Damage is stepped over: behind it the scan looks for the next intact header, so
 * that one bad record does not take its neighbours along (P6). A file without its header counts as accepted mail: what is
 * known already is no news, and what is not must not be lost. `undefined`: not a segment at all.
 */
export async function scanSegment(
  source: Source,
  { bodies = false }: { readonly bodies?: boolean } = {},
): Promise<Scan | undefined> {
  const header = parseFileHeader(await source.read(0, FILE_HEADER_BYTES));
  const salt = header?.salt ?? (await saltWithoutHeader(source));
  if (salt === undefined) return undefined;
  const first = await nextBlock(source, FILE_HEADER_BYTES, salt);
  const scan = emptyScan(header, salt);
  let offset = FILE_HEADER_BYTES;
  for (let block = first; block !== undefined; block = await nextBlock(source, offset, salt)) {
    if (block.offset > offset) scan.problems.push(`damaged at offset ${offset}`);
    if (block.type === "DONE") return scan;
    offset = blockEnd(block);
    if (block.type === "ENVL") {
      scan.envelopes.push({ block, payload: await checkedPayload(source, block) });
    } else if (bodies && !(await isIntact(source, block))) {
      scan.damagedBodies.add(block.offset);
    }
  }
  scan.problems.push("cut short: the end mark is missing");
  return scan;
}

/**
 * The salt of a file whose header is damaged, out of a block at a place where no sender's bytes can be: right behind the header
 * or at the very end. Any other block may stand in a body, and its salt be the sender's.
 */
async function saltWithoutHeader(source: Source): Promise<number | undefined> {
  const blockAt = async (offset: number) =>
    parseBlockHeader(await source.read(offset, BLOCK_HEADER_BYTES), 0, offset);
  const first = await blockAt(FILE_HEADER_BYTES);
  if (fits(first, source, undefined)) return first.salt;
  const last = source.size - BLOCK_HEADER_BYTES;
  const done = last > FILE_HEADER_BYTES ? await blockAt(last) : undefined;
  return done?.type === "DONE" && done.length === 0 ? done.salt : undefined;
}

function emptyScan(header: FileHeader | undefined, salt: number) {
  const envelopes: ScannedEnvelope[] = [];
  const problems: string[] = header === undefined ? [HEADER_DAMAGED] : [];
  const kind: SegmentKind = header?.kind ?? "accepted";
  const damagedBodies = new Set<number>();
  return { kind, number: header?.number, salt, envelopes, problems, damagedBodies };
}

/** A block's payload, or `undefined` when its checksum does not hold. */
export async function checkedPayload(
  source: Source,
  block: Block,
): Promise<Uint8Array | undefined> {
  const payload = await source.read(block.offset + BLOCK_HEADER_BYTES, block.length);
  return payload.length === block.length && crc32(payload) === block.crc ? payload : undefined;
}

async function isIntact(source: Source, block: Block): Promise<boolean> {
  const start = block.offset + BLOCK_HEADER_BYTES;
  let crc = 0;
  for (let done = 0; done < block.length; ) {
    const bytes = await source.read(start + done, Math.min(BODY_BYTES, block.length - done));
    if (bytes.length === 0) return false;
    crc = crc32(bytes, crc);
    done += bytes.length;
  }
  return crc === block.crc;
}

/** The first whole block with this salt at or behind `from`. */
async function nextBlock(source: Source, from: number, salt: number): Promise<Block | undefined> {
  const here = parseBlockHeader(await source.read(from, BLOCK_HEADER_BYTES), 0, from);
  if (fits(here, source, salt)) return here;
  for (let base = from + 1; base + BLOCK_HEADER_BYTES <= source.size; ) {
    const bytes = await source.read(base, RESYNC_BYTES);
    if (bytes.length < BLOCK_HEADER_BYTES) return undefined;
    for (let at = 0; at + BLOCK_HEADER_BYTES <= bytes.length; at += 1) {
      const block = mayStartBlock(bytes[at]) ? parseBlockHeader(bytes, at, base) : undefined;
      if (fits(block, source, salt)) return block;
    }
    base += bytes.length - BLOCK_HEADER_BYTES + 1;
  }
  return undefined;
}

function fits(block: Block | undefined, source: Source, salt: number | undefined): block is Block {
  if (block === undefined || (salt !== undefined && block.salt !== salt)) return false;
  return (
    blockEnd(block) <= source.size && (block.type === "BODY" || block.length <= ENVELOPE_BYTES_MAX)
  );
}

/** The first letter decides almost always; the checksum is only computed behind it. */
function mayStartBlock(byte: number | undefined): boolean {
  return byte === 0x42 || byte === 0x45 || byte === 0x44;
}

function holdsType(bytes: Uint8Array, at: number, type: BlockType): boolean {
  for (let index = 0; index < 4; index += 1) {
    if (bytes[at + index] !== type.charCodeAt(index)) return false;
  }
  return true;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
