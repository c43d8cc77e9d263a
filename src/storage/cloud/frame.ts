import { crc32 } from "node:zlib";
import { concatBytes } from "../../mail/content.ts";
import { DamagedError } from "../store-error.ts";

/** Facts as JSON and octets behind them, under one checksum. */
export interface Frame {
  readonly facts: unknown;
  readonly payload: Uint8Array;
  /** Where it ends, and what is no part of it begins. */
  readonly end: number;
}

/** Format, checksum of all that follows, length of the facts, length of the payload. */
const HEADER_BYTES = 16;
const FORMAT_BYTES = 4;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** `format` names what it is, in four characters. */
export function encodeFrame(format: string, facts: object, payload: Uint8Array): Uint8Array {
  const text = encoder.encode(JSON.stringify(facts));
  const header = new Uint8Array(HEADER_BYTES);
  header.set(encoder.encode(format));
  const bytes = concatBytes([header, text, payload]);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, text.length);
  view.setUint32(12, payload.length);
  view.setUint32(FORMAT_BYTES, crc32(bytes.subarray(8)));
  return bytes;
}

/** How long the frame is that begins here. Throws `DamagedError` when none does. */
export function frameLength(format: string, bytes: Uint8Array): number {
  const start = Buffer.from(bytes.subarray(0, FORMAT_BYTES)).toString();
  if (bytes.length < HEADER_BYTES || start !== format) {
    throw new DamagedError("it does not begin as it should");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return HEADER_BYTES + view.getUint32(8) + view.getUint32(12);
}

/** Throws `DamagedError`. */
export function decodeFrame(format: string, bytes: Uint8Array): Frame {
  const end = frameLength(format, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (bytes.length < end || view.getUint32(FORMAT_BYTES) !== crc32(bytes.subarray(8, end))) {
    throw new DamagedError("it fails its checksum");
  }
  const middle = HEADER_BYTES + view.getUint32(8);
  try {
    const facts: unknown = JSON.parse(decoder.decode(bytes.subarray(HEADER_BYTES, middle)));
    return { facts, payload: bytes.subarray(middle, end), end };
  } catch (cause) {
    throw new DamagedError("its facts cannot be read", { cause });
  }
}
