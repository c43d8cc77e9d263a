const CR = 0x0d;
const LF = 0x0a;
const LINE = Uint8Array.of(CR, LF);

/** Bytes below this one (NUL, TAB, LF, CR...) are what the scan stops at. */
const CONTROL_BELOW = 0x0e;
/** Subtracted from four bytes at once: the top bit of a byte that was below the limit comes up by borrowing. */
const FOUR_LIMITS = 0x0e0e0e0e;
const FOUR_TOP_BITS = 0x80808080;

/** Bytes prepared for `nextControl`: the same memory seen one byte and four bytes at a time. */
export interface Scannable {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  /** How many bytes come before the first whole word. */
  readonly skew: number;
}

/** Prepares bytes for `nextControl`; copies nothing. */
export function scannable(bytes: Uint8Array): Scannable {
  const skew = Math.min(-bytes.byteOffset & 3, bytes.length);
  const count = (bytes.length - skew) >> 2;
  // An empty view may not start at an unaligned offset, as a short piece would make it do.
  const start = count === 0 ? 0 : bytes.byteOffset + skew;
  return { bytes, words: new Uint32Array(bytes.buffer, start, count), skew };
}

/**
 * The index of the first byte below 0x0e at or after `from`, or the length when there is none: every CR, LF and NUL is
 * found, and few others. Reads ordinary text four bytes at a time.
 */
export function nextControl({ bytes, words, skew }: Scannable, from: number): number {
  const { length } = bytes;
  let index = from;
  while (index < length) {
    const offset = index - skew;
    if ((offset & 3) === 0 && offset >= 0) {
      index = skew + quietWords(words, offset >> 2) * 4;
    }
    // Byte by byte through the word that has something, or to the next whole one.
    const stop = Math.min(length, index + 4 - ((index - skew) & 3));
    for (; index < stop; index += 1) {
      if ((bytes[index] ?? CONTROL_BELOW) < CONTROL_BELOW) return index;
    }
  }
  return length;
}

/** The first word at or after `from` that may have a byte below the limit. */
function quietWords(words: Uint32Array, from: number): number {
  let index = from;
  for (; index < words.length; index += 1) {
    const word = words[index] ?? 0;
    if (((word - FOUR_LIMITS) & ~word & FOUR_TOP_BITS) !== 0) break;
  }
  return index;
}

/**
 * The same text with every line end written as CRLF: a CR without LF and an LF without CR each become one
 * (RFC 5321 §2.3.8). Gives back the very same array when there is nothing to change.
 */
export function withCrlf(bytes: Uint8Array): Uint8Array {
  const scan = scannable(bytes);
  const pieces: Uint8Array[] = [];
  let start = 0;
  for (let at = nextControl(scan, 0); at < bytes.length; at = nextControl(scan, at)) {
    const byte = bytes[at];
    const isPair = byte === CR && bytes[at + 1] === LF;
    if (!isPair && (byte === CR || byte === LF)) {
      pieces.push(bytes.subarray(start, at), LINE);
      start = at + 1;
    }
    at += isPair ? 2 : 1;
  }
  return start === 0 ? bytes : joined([...pieces, bytes.subarray(start)]);
}

/** One array out of several; a single one is given back as it is. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces;
  if (only !== undefined && pieces.length === 1) return only;
  let length = 0;
  for (const piece of pieces) length += piece.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
