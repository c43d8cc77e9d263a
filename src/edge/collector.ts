import type { Body, BodySink } from "../mail/content.ts";
import { joined } from "../mail/line-endings.ts";

/** Smaller pieces are gathered before they are kept: each one kept costs an object and may pin a larger buffer. */
const SMALL_PIECE_BYTES = 1024;
const GATHER_BYTES = 16 * 1024;

/** Takes the content of one message piece by piece: in memory while it is small, else to a sink (P8). */
export interface Collector {
  /** Octets so far. */
  readonly size: number;
  /** Takes a piece. A promise means: the next one must wait for it. It never rejects; `finish` tells what went wrong. */
  add(piece: Uint8Array): Promise<void> | undefined;
  /** The whole body. Rejects when the sink could not be opened or written; nothing is left behind then. */
  finish(): Promise<Body>;
  /** Drops everything; also while `add` is under way, and after `finish`. Idempotent, never rejects. */
  discard(): Promise<void>;
}

/** A collector that keeps up to `spillBytes` in memory, with one copy of each byte at the most, and then opens a sink. */
export function collector(spillBytes: number, openBody: () => Promise<BodySink>): Collector {
  const memory = memoryPieces();
  let size = 0;
  let opening: Promise<BodySink> | undefined;
  let failure: { readonly cause: unknown } | undefined;
  /** The write under way or the last one; never rejects. */
  let writing: Promise<void> | undefined;
  let discarded = false;

  async function spill(bytes: Uint8Array): Promise<void> {
    try {
      opening ??= openBody();
      const sink = await opening;
      if (!discarded) await sink.write(bytes);
    } catch (cause) {
      failure ??= { cause };
    }
  }

  async function discard(): Promise<void> {
    if (discarded) return;
    discarded = true;
    memory.take();
    // A sink does one thing at a time.
    await writing;
    try {
      await (await opening)?.discard();
    } catch {
      // A sink that cannot clean up leaves its file in the scratch directory, which is emptied at the next start.
    }
  }

  return {
    get size() {
      return size;
    },
    add(piece) {
      size += piece.length;
      if (failure !== undefined || discarded) return;
      if (opening === undefined) {
        memory.add(piece);
        if (size <= spillBytes) return;
      }
      writing = spill(opening === undefined ? memory.take() : piece);
      return writing;
    },
    async finish() {
      try {
        if (failure !== undefined) throw failure.cause;
        if (opening === undefined) return { kind: "bytes", bytes: memory.take() };
        return await (await opening).end();
      } catch (cause) {
        await discard();
        throw cause;
      }
    },
    discard,
  };
}

interface MemoryPieces {
  add(piece: Uint8Array): void;
  /** Everything so far as one array, which is the caller's from now on. */
  take(): Uint8Array;
}

function memoryPieces(): MemoryPieces {
  let pieces: Uint8Array[] = [];
  let gathered = new Uint8Array(0);
  let gatheredLength = 0;

  function keepGathered(): void {
    if (gatheredLength > 0) pieces.push(gathered.subarray(0, gatheredLength));
    gathered = gathered.subarray(gatheredLength);
    gatheredLength = 0;
  }

  return {
    add(piece) {
      if (piece.length >= SMALL_PIECE_BYTES) {
        keepGathered();
        pieces.push(piece);
        return;
      }
      if (gatheredLength + piece.length > gathered.length) {
        keepGathered();
        gathered = new Uint8Array(GATHER_BYTES);
      }
      gathered.set(piece, gatheredLength);
      gatheredLength += piece.length;
    },
    take() {
      keepGathered();
      const bytes = joined(pieces);
      pieces = [];
      // A short view would keep the whole chunk alive that it was read from, with other messages in it.
      return bytes.length * 2 < bytes.buffer.byteLength ? bytes.slice() : bytes;
    },
  };
}
