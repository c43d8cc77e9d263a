import { crc32 } from "node:zlib";
import { type BodySink, HEAD_BYTES_MAX, type SourceBody } from "../../mail/content.ts";
import { DamagedError, storeError } from "../store-error.ts";
import type { SpoolFiles } from "./files.ts";
import { BLOCK_HEADER_BYTES, FILE_HEADER_BYTES, writeBlockHeader } from "./segment.ts";
import type { PlacedBody } from "./segment-writer.ts";

/** A large body on its way into a segment of its own: a scratch file that already has the segment's layout. */
export interface BodyFile {
  readonly fd: number;
  readonly path: string;
  readonly place: PlacedBody;
  readonly salt: number;
}

/** Behind this many octets of a scratch file reads go on: one chunk at a time is in memory. */
const READ_BYTES = 256 * 1024;
const BODY_OFFSET = FILE_HEADER_BYTES;
const BYTES_OFFSET = BODY_OFFSET + BLOCK_HEADER_BYTES;

/** Bodies of this storage that wait for their envelopes. */
export type BodyFiles = WeakMap<SourceBody, BodyFile>;

/**
 * Opens a scratch file for a body. The block's header is filled in at the end, when length and checksum are known; until
 * the file is renamed it is garbage that the next start sweeps.
 */
export async function openBodyFile(
  files: SpoolFiles,
  { path, salt }: Pick<BodyFile, "path" | "salt">,
  known: BodyFiles,
): Promise<BodySink> {
  const fd = await createBodyFile(files, path);
  const head: Uint8Array[] = [];
  let headBytes = 0;
  let size = 0;
  let crc = 0;
  let body: SourceBody | undefined;
  let open = true;

  return {
    async write(chunk) {
      if (headBytes < HEAD_BYTES_MAX) {
        const part = chunk.slice(0, HEAD_BYTES_MAX - headBytes);
        head.push(part);
        headBytes += part.length;
      }
      crc = crc32(chunk, crc);
      size += chunk.length;
      await files.appendSlowly(fd, chunk).catch((cause: unknown) => {
        throw storeError("cannot write a scratch file", cause);
      });
    },
    async end() {
      const header = new Uint8Array(BYTES_OFFSET);
      writeBlockHeader(header, BODY_OFFSET, { type: "BODY", length: size, crc, salt });
      try {
        files.writeAt(fd, header, 0);
      } catch (cause) {
        throw storeError("cannot write a scratch file", cause);
      }
      body = sourceBody(size, Buffer.concat(head), () => readScratch(files, path, size));
      known.set(body, { fd, path, place: { offset: BODY_OFFSET, length: size }, salt });
      return body;
    },
    async discard() {
      if (!open) return;
      open = false;
      // Once an envelope took the file over it is no longer this sink's to throw away.
      if (body !== undefined && !known.delete(body)) return;
      files.close(fd);
      await files.unlink(path).catch(() => undefined);
    },
  };
}

/** Leaves nothing behind when the disk does not even take the empty header. */
async function createBodyFile(files: SpoolFiles, path: string): Promise<number> {
  const fd = files.create(path);
  try {
    files.append(fd, new Uint8Array(BYTES_OFFSET));
    return fd;
  } catch (error) {
    files.close(fd);
    await files.unlink(path).catch(() => undefined);
    throw error;
  }
}

/** A body that is read from somewhere else. */
export function sourceBody(
  size: number,
  head: Uint8Array,
  stream: () => AsyncIterable<Uint8Array>,
): SourceBody {
  return { kind: "source", size, head, stream };
}

/**
 * The bytes of a BODY block in pieces, with the checksum compared before the last piece is handed out: whoever
 * relays it stops short of the end of a message that was damaged.
 */
export async function* readBlock(
  files: SpoolFiles,
  fd: number,
  at: { readonly offset: number; readonly length: number; readonly crc?: number },
): AsyncGenerator<Uint8Array> {
  let crc = 0;
  for (let done = 0; done < at.length; ) {
    const wanted = Math.min(READ_BYTES, at.length - done);
    const bytes = await files.readAt(fd, wanted, at.offset + done);
    if (bytes.length < wanted) throw new DamagedError("the file ends inside a body");
    done += bytes.length;
    crc = crc32(bytes, crc);
    if (done === at.length && at.crc !== undefined && crc !== at.crc) {
      throw new DamagedError("the body fails its checksum");
    }
    yield bytes;
  }
}

async function* readScratch(
  files: SpoolFiles,
  path: string,
  size: number,
): AsyncGenerator<Uint8Array> {
  const fd = files.openForRead(path);
  try {
    yield* readBlock(files, fd, { offset: BYTES_OFFSET, length: size });
  } finally {
    files.close(fd);
  }
}
