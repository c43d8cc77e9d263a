import { crc32 } from "node:zlib";

/**
 * The layout of a segment file: a file header, then blocks, each with a checked header of its own, then one `DONE` block.
 *
 *     file header   magic "SLQSEG", version, kind, segment number
 *     BODY          the bytes of one message as received
 *     ENVL          one envelope: JSON, then its header prefix; it names its BODY block by offset
 *     DONE          the end; a file without it was cut short
 *
 * Several ENVL blocks may name one BODY: the parts that policies made out of one transaction share it. A segment never
 * changes after it was renamed into place.
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
}

export const FILE_HEADER_BYTES = 16;
export const BLOCK_HEADER_BYTES = 24;

const MAGIC = "SLQSEG";
const VERSION = 1;
const KINDS: readonly SegmentKind[] = ["accepted", "copies"];
const TYPES: readonly BlockType[] = ["BODY", "ENVL", "DONE"];
const HIGH_WORD = 2 ** 32;

export function encodeFileHeader(kind: SegmentKind, number: number): Uint8Array {
  const bytes = new Uint8Array(FILE_HEADER_BYTES);
  for (let index = 0; index < MAGIC.length; index += 1) bytes[index] = MAGIC.charCodeAt(index);
  bytes[6] = VERSION;
  bytes[7] = KINDS.indexOf(kind);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, Math.floor(number / HIGH_WORD));
  view.setUint32(12, number % HIGH_WORD);
  return bytes;
}

/** `undefined`: these are not the first bytes of a segment that this version reads. */
export function parseFileHeader(
  bytes: Uint8Array,
): { readonly kind: SegmentKind; readonly number: number } | undefined {
  if (bytes.length < FILE_HEADER_BYTES || bytes[6] !== VERSION) return undefined;
  for (let index = 0; index < MAGIC.length; index += 1) {
    if (bytes[index] !== MAGIC.charCodeAt(index)) return undefined;
  }
  const kind = KINDS[bytes[7] ?? -1];
  if (kind === undefined) return undefined;
  const view = viewOf(bytes);
  return { kind, number: view.getUint32(8) * HIGH_WORD + view.getUint32(12) };
}

/** Writes a block's header at `at`; the header carries a checksum of itself, so that garbage is never taken for one. */
export function writeBlockHeader(
  target: Uint8Array,
  at: number,
  type: BlockType,
  length: number,
  crc: number,
): void {
  for (let index = 0; index < 4; index += 1) target[at + index] = type.charCodeAt(index);
  const view = viewOf(target);
  view.setUint32(at + 4, crc);
  view.setUint32(at + 8, Math.floor(length / HIGH_WORD));
  view.setUint32(at + 12, length % HIGH_WORD);
  view.setUint32(at + 16, 0);
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
  return { type, offset: base + at, length, crc: view.getUint32(at + 4) };
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
  /** The number that the file was written under. */
  readonly number: number;
  readonly envelopes: readonly ScannedEnvelope[];
  /** What is wrong with the file as a whole; empty when it is intact. Bodies are checked when they are read. */
  readonly problems: readonly string[];
}

/** Random access to a file of known size. */
export interface Source {
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** How far a scan reads ahead when it looks for the next intact header behind a damaged one. */
const RESYNC_BYTES = 1024 * 1024;

/**
 * Finds every envelope of a segment. Damage is stepped over: behind it the scan looks for the next intact header, so
 * that one bad record does not take its neighbours along (P6). `undefined`: not a segment at all.
 */
export async function scanSegment(source: Source): Promise<Scan | undefined> {
  const header = parseFileHeader(await source.read(0, FILE_HEADER_BYTES));
  if (header === undefined) return undefined;
  const envelopes: ScannedEnvelope[] = [];
  const problems: string[] = [];
  let offset = FILE_HEADER_BYTES;
  while (offset < source.size) {
    const block = parseBlockHeader(await source.read(offset, BLOCK_HEADER_BYTES), 0, offset);
    if (block === undefined || blockEnd(block) > source.size) {
      problems.push(`damaged at offset ${offset}`);
      offset = await nextHeader(source, offset + 1);
      continue;
    }
    if (block.type === "DONE") return { ...header, envelopes, problems };
    if (block.type === "ENVL")
      envelopes.push({ block, payload: await checkedPayload(source, block) });
    offset = blockEnd(block);
  }
  problems.push("cut short: the end mark is missing");
  return { ...header, envelopes, problems };
}

/** A block's payload, or `undefined` when its checksum does not hold. */
export async function checkedPayload(
  source: Source,
  block: Block,
): Promise<Uint8Array | undefined> {
  const payload = await source.read(block.offset + BLOCK_HEADER_BYTES, block.length);
  return payload.length === block.length && crc32(payload) === block.crc ? payload : undefined;
}

async function nextHeader(source: Source, from: number): Promise<number> {
  let base = from;
  while (base < source.size) {
    const bytes = await source.read(base, RESYNC_BYTES);
    for (let at = 0; at + BLOCK_HEADER_BYTES <= bytes.length; at += 1) {
      // The first letter decides almost always; the checksum is only computed behind it.
      const first = bytes[at];
      if (first !== 0x42 && first !== 0x45 && first !== 0x44) continue;
      if (parseBlockHeader(bytes, at) !== undefined) return base + at;
    }
    if (base + bytes.length >= source.size) break;
    base += Math.max(1, bytes.length - BLOCK_HEADER_BYTES + 1);
  }
  return source.size;
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
