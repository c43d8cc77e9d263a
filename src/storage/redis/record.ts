import { crc32 } from "node:zlib";
import type { Body } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { decodeRecord, envelopeOf, recordText } from "../record.ts";
import { DamagedError } from "../store-error.ts";

/** CRC-32 of all that follows, and how long the envelope is. */
const HEADER_BYTES = 8;

const encoder = new TextEncoder();

/**
 * The value of `{p}:c:ID`: checksum, envelope with the header prefix, and behind them the body when it is `inline`. `due` is
 * when the first attempt was.
 */
export function encodeRecord(
  id: string,
  envelope: Envelope,
  {
    due,
    inline,
    length,
  }: { readonly due: number; readonly inline: Uint8Array; readonly length: number },
): Uint8Array {
  const { content, ...facts } = envelope;
  const text = encoder.encode(
    recordText({ id, envelope: facts, due, bodyOffset: 0, bodyLength: length }),
  );
  const payload = 4 + text.length + content.prefix.length;
  const bytes = new Uint8Array(HEADER_BYTES + payload + inline.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, payload);
  view.setUint32(HEADER_BYTES, text.length);
  bytes.set(text, HEADER_BYTES + 4);
  bytes.set(content.prefix, HEADER_BYTES + 4 + text.length);
  bytes.set(inline, HEADER_BYTES + payload);
  view.setUint32(0, crc32(bytes.subarray(4)));
  return bytes;
}

/** What a record holds; `elsewhere` makes the body of one that has it in parts. Throws `DamagedError`. */
export async function readRecord(
  id: string,
  bytes: Uint8Array,
  elsewhere: ((length: number) => Promise<Body>) | undefined,
): Promise<Envelope> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || view.getUint32(0) !== crc32(bytes.subarray(4))) {
    throw new DamagedError("the record fails its checksum");
  }
  const end = HEADER_BYTES + view.getUint32(4);
  const record = decoded(bytes.subarray(HEADER_BYTES, end));
  if (record.id !== id) throw new DamagedError(`the record is of message ${record.id}`);
  if (elsewhere !== undefined) return envelopeOf(record, await elsewhere(record.bodyLength));
  const inline = bytes.subarray(end);
  if (inline.length !== record.bodyLength) throw new DamagedError("the body has another length");
  return envelopeOf(record, { kind: "bytes", bytes: inline });
}

function decoded(payload: Uint8Array) {
  try {
    return decodeRecord(payload);
  } catch (cause) {
    throw new DamagedError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

const CHECKSUM_BYTES = 4;

/** One part of a body, behind its checksum. */
export function encodePart(bytes: Uint8Array): Uint8Array {
  const part = new Uint8Array(CHECKSUM_BYTES + bytes.length);
  new DataView(part.buffer).setUint32(0, crc32(bytes));
  part.set(bytes, CHECKSUM_BYTES);
  return part;
}

/** Throws `DamagedError`. */
export function decodePart(part: Uint8Array): Uint8Array {
  const bytes = part.subarray(CHECKSUM_BYTES);
  const isWhole =
    part.length >= CHECKSUM_BYTES &&
    new DataView(part.buffer, part.byteOffset).getUint32(0) === crc32(bytes);
  if (!isWhole) throw new DamagedError("a part of the body fails its checksum");
  return bytes;
}
