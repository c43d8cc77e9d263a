import { concatBytes } from "../mail/content.ts";

/** One part of a `multipart/report` (RFC 6522). */
export interface Part {
  /** `Content-Type`, parameters included. */
  readonly type: string;
  readonly description: string;
  /** Lines ended by CRLF, the last one perhaps not. */
  readonly bytes: Uint8Array;
}

/** A body that joins parts, and the boundary that stands between them. */
export interface Multipart {
  readonly boundary: string;
  readonly bytes: Uint8Array;
  readonly isEightBit: boolean;
}

const encoder = new TextEncoder();
const ASCII_MAX = 0x7f;
const PREAMBLE = "This is a message in several parts, as MIME defines them.\r\n";

/** Whether bytes need no 8-bit transport (RFC 6152). */
export function isSevenBit(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte <= ASCII_MAX);
}

/** Joins parts with a boundary that occurs in none of them; `seed` makes it different from that of other messages. */
export function joinParts(parts: readonly Part[], seed: string): Multipart {
  const boundary = boundaryFor(parts, seed);
  const pieces: Uint8Array[] = [encoder.encode(PREAMBLE)];
  for (const part of parts) pieces.push(encoder.encode(partHeader(part, boundary)), part.bytes);
  pieces.push(encoder.encode(`\r\n--${boundary}--\r\n`));
  return {
    boundary,
    bytes: concatBytes(pieces),
    isEightBit: !parts.every(({ bytes }) => isSevenBit(bytes)),
  };
}

function partHeader({ type, description, bytes }: Part, boundary: string): string {
  const encoding = isSevenBit(bytes) ? "7bit" : "8bit";
  const fields = [
    `Content-Type: ${type}`,
    `Content-Description: ${description}`,
    `Content-Transfer-Encoding: ${encoding}`,
  ];
  return `\r\n--${boundary}\r\n${fields.join("\r\n")}\r\n\r\n`;
}

function boundaryFor(parts: readonly Part[], seed: string): string {
  for (let attempt = 0; ; attempt += 1) {
    const boundary = `=_${seed}_${attempt}`;
    const needle = encoder.encode(boundary);
    if (!parts.some(({ bytes }) => contains(bytes, needle))) return boundary;
  }
}

function contains(bytes: Uint8Array, needle: Uint8Array): boolean {
  const [first = 0] = needle;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (needle.every((byte, index) => bytes[at + index] === byte)) return true;
  }
  return false;
}
