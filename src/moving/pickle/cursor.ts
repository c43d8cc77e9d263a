import { PickleError } from "./values.ts";

const LF = 0x0a;
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads a pickle's bytes one after the other; throws `PickleError` where they end too early. */
export class Cursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.#view.getUint8(this.#step(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#step(2), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#step(4), true);
  }

  uint32(): number {
    return this.#view.getUint32(this.#step(4), true);
  }

  /** A length of eight bytes. One that is longer than any pickle here is damage. */
  uint64(): number {
    const length = this.#view.getBigUint64(this.#step(8), true);
    if (length > BigInt(this.#bytes.length)) throw new PickleError("it ends too early");
    return Number(length);
  }

  float(): number {
    return this.#view.getFloat64(this.#step(8), false);
  }

  /** The bytes themselves, not a copy. */
  take(length: number): Uint8Array {
    const start = this.#step(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Up to the end of the line, which is not part of it. */
  line(): Uint8Array {
    const end = this.#bytes.indexOf(LF, this.#at);
    if (end < 0) throw new PickleError("it ends too early");
    const line = this.take(end - this.#at);
    this.#at += 1;
    return line;
  }

  #step(length: number): number {
    const start = this.#at;
    if (length < 0 || start + length > this.#bytes.length)
      throw new PickleError("it ends too early");
    this.#at += length;
    return start;
  }
}

/** A line of ASCII. */
export function ascii(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    if (byte > 0x7f) throw new PickleError("a line is not ASCII");
    text += String.fromCharCode(byte);
  }
  return text;
}

/**
 * UTF-8 as Python writes it: bytes that were no text when it read them are lone surrogates in its strings (U+DC80 to
 * U+DCFF), which UTF-8 proper does not have.
 */
export function pythonText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return surrogateText(bytes);
  }
}

function surrogateText(bytes: Uint8Array): string {
  let text = "";
  let start = 0;
  for (let at = 0; at + 2 < bytes.length; at += 1) {
    const second = bytes[at + 1] ?? 0;
    if (bytes[at] !== 0xed || second < 0xa0) continue;
    text += decoded(bytes.subarray(start, at));
    text += String.fromCharCode(0xd000 | ((second & 0x3f) << 6) | ((bytes[at + 2] ?? 0) & 0x3f));
    start = at + 3;
    at += 2;
  }
  return text + decoded(bytes.subarray(start));
}

function decoded(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch (cause) {
    throw new PickleError("a text is not UTF-8", { cause });
  }
}
