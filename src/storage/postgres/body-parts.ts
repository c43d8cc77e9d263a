import { concatBytes } from "../../mail/content.ts";

/** Takes a stream in chunks of any size. */
export interface Parts {
  write(chunk: Uint8Array): Promise<void>;
  /** Stores what is left. */
  end(): Promise<{ readonly size: number; readonly head: Uint8Array }>;
}

/** Cuts a stream into a head and parts of one size, and stores each as soon as it is full; the last may be shorter. */
export function cutUp(
  headBytes: number,
  partBytes: number,
  store: (bytes: Uint8Array, part: number) => Promise<void>,
): Parts {
  let pieces: Uint8Array[] = [];
  let length = 0;
  let size = 0;
  let part = 0;
  let head: Uint8Array = new Uint8Array(0);

  async function storePart(): Promise<void> {
    const bytes = concatBytes(pieces);
    if (part === 0) head = bytes;
    pieces = [];
    length = 0;
    part += 1;
    await store(bytes, part - 1);
  }

  return {
    async write(chunk) {
      for (let rest = chunk; rest.length > 0; ) {
        const room = (part === 0 ? headBytes : partBytes) - length;
        // The next chunk may come in the same buffer.
        const piece = rest.slice(0, room);
        pieces.push(piece);
        length += piece.length;
        size += piece.length;
        rest = rest.subarray(piece.length);
        if (piece.length === room) await storePart();
      }
    },
    async end() {
      if (length > 0) await storePart();
      return { size, head };
    },
  };
}
