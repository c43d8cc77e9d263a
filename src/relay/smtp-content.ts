import type { Socket } from "node:net";
import { type Content, contentChunks } from "../mail/content.ts";
import { isPlain } from "./line-scan.ts";

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;

/** The largest piece that is written to a socket at once; contents up to it leave in one write. */
export const PIECE_BYTES_MAX = 256 * 1024;

/** At most this many bytes are added at the end of the content. */
const END_BYTES_MAX = 5;

/**
 * A whole content as it goes over the wire, end of data included, when it is in memory and fits in one piece. Bytes are
 * kept as they are, save for what RFC 5321 asks: a dot in front of a leading dot (§4.5.2), and CRLF in place of a bare
 * CR or LF (§2.3.8), which a receiver might take for the end of data.
 */
export function wholePiece({ prefix, body }: Content): Uint8Array | undefined {
  if (body.kind !== "bytes" || prefix.length + body.bytes.length > PIECE_BYTES_MAX)
    return undefined;
  const stuffer = new Stuffer();
  const extra = stuffer.count(prefix) + stuffer.count(body.bytes, body.plain);
  const out = Buffer.allocUnsafe(prefix.length + body.bytes.length + extra + END_BYTES_MAX);
  const writer = new Stuffer();
  let length = writer.copy(prefix, out, 0, extra);
  length += writer.copy(body.bytes, out, length, extra);
  length += writer.end(out, length);
  return out.subarray(0, length);
}

/** The same for any content, piece by piece; the source is read no faster than pieces are asked for. */
export async function* contentPieces(content: Content): AsyncGenerator<Uint8Array> {
  const stuffer = new Stuffer();
  for await (const chunk of contentChunks(content)) {
    for (let start = 0; start < chunk.length; start += PIECE_BYTES_MAX) {
      yield stuffer.piece(chunk.subarray(start, start + PIECE_BYTES_MAX));
    }
  }
  const out = new Uint8Array(END_BYTES_MAX);
  yield out.subarray(0, stuffer.end(out, 0));
}

/**
 * Writes a whole content to a socket, with no more than one piece waiting in memory. Stops when `isOver`, calls
 * `progress` before each piece, and rejects when the source cannot be read.
 */
export async function sendPieces(
  content: Content,
  socket: Socket,
  isOver: () => boolean,
  progress: () => void,
): Promise<void> {
  for await (const piece of contentPieces(content)) {
    if (isOver()) return;
    progress();
    if (!socket.write(piece)) await drained(socket);
  }
}

/** Resolves when the socket takes more, or never will. */
export function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed || !socket.writableNeedDrain) {
      resolve();
      return;
    }
    const done = () => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}

/** Dot-stuffing over a run of chunks; remembers the last byte in between. */
class Stuffer {
  // The start of the content is the start of a line.
  #previous = LF;

  /** How many bytes have to be added to `bytes`, which are then behind us. None where lines are known to be plain. */
  count(bytes: Uint8Array, isKnownPlain = false): number {
    if ((isKnownPlain && this.#previous === LF) || isPlain(bytes, this.#previous)) {
      this.#previous = bytes.at(-1) ?? this.#previous;
      return 0;
    }
    let previous = this.#previous;
    let extra = 0;
    for (let index = 0; index < bytes.length; index += 1) {
      const byte = bytes[index] ?? 0;
      extra += addedBefore(byte, previous);
      previous = byte;
    }
    this.#previous = previous;
    return extra;
  }

  /** Writes `bytes` to `out` and returns how many that became. With no `extra` they are copied as they are. */
  copy(bytes: Uint8Array, out: Uint8Array, offset: number, extra: number): number {
    if (bytes.length === 0) return 0;
    let at = offset;
    let previous = this.#previous;
    if (extra === 0) out.set(bytes, offset);
    else {
      for (const byte of bytes) {
        if (addedBefore(byte, previous) > 0) at = insertBefore(byte, previous, out, at);
        out[at++] = byte;
        previous = byte;
      }
    }
    this.#previous = bytes[bytes.length - 1] ?? 0;
    return extra === 0 ? bytes.length : at - offset;
  }

  /** One chunk as it goes over the wire; the chunk itself when nothing has to be added. */
  piece(bytes: Uint8Array): Uint8Array {
    const before = this.#previous;
    const extra = this.count(bytes);
    if (extra === 0) return bytes;
    this.#previous = before;
    const out = new Uint8Array(bytes.length + extra);
    this.copy(bytes, out, 0, extra);
    return out;
  }

  /** Ends the last line, if it is open, and the data. */
  end(out: Uint8Array, offset: number): number {
    let at = offset;
    if (this.#previous !== LF) {
      if (this.#previous !== CR) out[at++] = CR;
      out[at++] = LF;
    }
    out[at++] = DOT;
    out[at++] = CR;
    out[at++] = LF;
    return at - offset;
  }
}

/** How many bytes belong between two neighbours. */
function addedBefore(byte: number, previous: number): number {
  if (previous === CR) {
    if (byte === LF) return 0;
    return byte === DOT ? 2 : 1;
  }
  if (byte === LF) return 1;
  return byte === DOT && previous === LF ? 1 : 0;
}

/** Writes them, and returns where to go on. */
function insertBefore(byte: number, previous: number, out: Uint8Array, offset: number): number {
  let at = offset;
  if (byte === LF) out[at++] = CR;
  else if (previous === CR) out[at++] = LF;
  if (byte === DOT) out[at++] = DOT;
  return at;
}
