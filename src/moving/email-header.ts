import { concatBytes } from "../mail/content.ts";
import { bytesIn, itemsIn, type Pickled, PickledObject, PickleError } from "./pickle/values.ts";

const encoder = new TextEncoder();
const SEPARATOR = encoder.encode(": ");
const LINE_END = encoder.encode("\n");
const CR = 0x0d;
const LF = 0x0a;
const HEADER_BYTES_MAX = 64 * 1024 * 1024;
/** Octets of text in one encoded word: with its frame it is shorter than the 75 of RFC 2047 §2. */
const WORD_BYTES_MAX = 39;

/**
 * The header of a pickled `email.message.Message` as bytes, with the blank line below it: fields in their order, folded as
 * they were. Python does not keep what stood between colon and value, which becomes one space, nor how lines ended,
 * which becomes CRLF. Throws `PickleError`.
 */
export function headerBytes(message: Pickled | undefined): Uint8Array {
  const lines: Uint8Array[] = [];
  let size = 0;
  for (const field of fieldsOf(message)) {
    const [name, value] = itemsIn(field) ?? [];
    const line = [wireBytes(name), SEPARATOR, valueBytes(value), LINE_END];
    size += line.reduce((sum, { length }) => sum + length, 0);
    // A pickle can say the same again for a few octets.
    if (size > HEADER_BYTES_MAX) throw new PickleError("its headers are too long");
    lines.push(...line);
  }
  return crlf(concatBytes([...lines, LINE_END]));
}

function fieldsOf(message: Pickled | undefined): readonly Pickled[] {
  if (message === null || message === undefined) return [];
  if (!(message instanceof PickledObject) || !(message.state instanceof Map)) {
    throw new PickleError("its headers are no message");
  }
  const fields = itemsIn(message.state.get("_headers"));
  if (fields === undefined) throw new PickleError("its headers are no list");
  return fields;
}

function valueBytes(value: Pickled | undefined): Uint8Array {
  return value instanceof PickledObject && value.name === "email.header.Header"
    ? encodedHeader(value)
    : wireBytes(value);
}

/** Bytes or text as it goes over the wire: what was no text when Python read it is the bytes that it was. */
function wireBytes(value: Pickled | undefined): Uint8Array {
  const bytes = bytesIn(value);
  if (bytes !== undefined) return bytes;
  if (typeof value !== "string") throw new PickleError("a header field is no text");
  const raw = /[\udc80-\udcff]/u;
  if (!raw.test(value)) return encoder.encode(value);
  const pieces = value.split(/([\udc80-\udcff])/u).map((piece) => {
    return raw.test(piece) ? Uint8Array.of(piece.charCodeAt(0) & 0xff) : encoder.encode(piece);
  });
  return concatBytes(pieces);
}

/** A field that a program made out of text in other scripts (RFC 2047). */
function encodedHeader({ state }: PickledObject): Uint8Array {
  const chunks = state instanceof Map ? itemsIn(state.get("_chunks")) : undefined;
  if (chunks === undefined) throw new PickleError("a header field has no text");
  const words = chunks.map((chunk) => encodedText(wireBytes(itemsIn(chunk)?.[0])));
  return encoder.encode(words.join(" "));
}

function encodedText(bytes: Uint8Array): string {
  if (bytes.every((byte) => byte < 0x80)) return new TextDecoder().decode(bytes);
  const words: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    let end = Math.min(at + WORD_BYTES_MAX, bytes.length);
    // No character is cut in two (RFC 2047 §5).
    while (end > at + 1 && end < bytes.length && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
    words.push(`=?utf-8?b?${bytes.subarray(at, end).toBase64()}?=`);
    at = end;
  }
  return words.join("\n ");
}

/** The same lines, each ended by CRLF. */
export function crlf(bytes: Uint8Array): Uint8Array {
  const isBare = (byte: number, at: number): boolean => byte === LF && bytes[at - 1] !== CR;
  let bare = 0;
  for (let at = 0; at < bytes.length; at += 1) bare += Number(isBare(bytes[at] ?? 0, at));
  if (bare === 0) return bytes;
  const ended = new Uint8Array(bytes.length + bare);
  let end = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (isBare(byte, at)) {
      ended[end] = CR;
      end += 1;
    }
    ended[end] = byte;
    end += 1;
  }
  return ended;
}
