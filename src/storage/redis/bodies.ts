import { type BodySink, concatBytes, HEAD_BYTES_MAX, type SourceBody } from "../../mail/content.ts";
import { DamagedError } from "../store-error.ts";
import type { Connection } from "./connection.ts";
import { storeError } from "./errors.ts";
import { BODY_TTL_MS } from "./lua-prelude.ts";
import { decodePart, encodePart } from "./record.ts";

/** Octets of one part of a large body: what is in memory of it at a time. */
export const PART_BYTES: number = 256 * 1024;

/** A body that is in Redis, and that no message has yet. */
export interface Upload {
  readonly name: string;
  readonly parts: number;
}

/** Uploads of this store that wait for their envelopes. */
export type Uploads = WeakMap<SourceBody, Upload>;

export interface BodyParts {
  readonly connection: Connection;
  readonly base: string;
}

/** Takes a large body part by part. What becomes of no message expires by itself. */
export function openUpload(
  name: string,
  { connection, base }: BodyParts,
  uploads: Uploads,
): BodySink {
  const key = bodyKey(base, name);
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let head: Uint8Array = new Uint8Array(0);
  let size = 0;
  let parts = 0;
  let body: SourceBody | undefined;
  let open = true;

  async function send(): Promise<void> {
    const part = concatBytes(waiting);
    waiting = [];
    waitingBytes = 0;
    if (parts === 0) head = part.slice(0, HEAD_BYTES_MAX);
    const number = parts;
    parts += 1;
    try {
      await Promise.all([
        connection.command("hset", [key, number, encodePart(part)]),
        connection.command("pexpire", [key, BODY_TTL_MS]),
      ]);
    } catch (error) {
      throw storeError("cannot store a part of the message", error);
    }
  }

  return {
    async write(chunk) {
      size += chunk.length;
      for (let from = 0; from < chunk.length; ) {
        // The next chunk may come in the same buffer.
        const piece = chunk.slice(from, from + PART_BYTES - waitingBytes);
        from += piece.length;
        waiting.push(piece);
        waitingBytes += piece.length;
        if (waitingBytes === PART_BYTES) await send();
      }
    },
    async end() {
      if (waitingBytes > 0 || parts === 0) await send();
      body = {
        kind: "source",
        size,
        head,
        stream: () => readParts({ connection, base }, name, size),
      };
      uploads.set(body, { name, parts });
      return body;
    },
    async discard() {
      if (!open) return;
      open = false;
      // Once a message took it over it is no longer this sink's to throw away.
      if (body !== undefined && !uploads.delete(body)) return;
      if (parts > 0) await connection.run("discard", base, [name]).catch(() => undefined);
    },
  };
}

/** A stored body of this length, read part by part; `onDamage` hears of one that cannot be read before the stream fails. */
export async function storedBody(
  from: BodyParts,
  name: string,
  size: number,
  onDamage: (error: DamagedError) => Promise<void>,
): Promise<SourceBody> {
  const first = await readPart(from, name, 0);
  return {
    kind: "source",
    size,
    head: first.slice(0, HEAD_BYTES_MAX),
    async *stream() {
      try {
        yield* readParts(from, name, size);
      } catch (error) {
        if (!(error instanceof DamagedError)) throw error;
        await onDamage(error);
        throw storeError("cannot read the message", error);
      }
    },
  };
}

async function* readParts(from: BodyParts, name: string, size: number): AsyncGenerator<Uint8Array> {
  let done = 0;
  for (let number = 0; done < size; number += 1) {
    const bytes = await readPart(from, name, number);
    done += bytes.length;
    if (bytes.length === 0 || done > size) throw new DamagedError("the body has another length");
    yield bytes;
  }
}

async function readPart(
  { connection, base }: BodyParts,
  name: string,
  number: number,
): Promise<Uint8Array> {
  const ask = connection.commandForBytes("hget", [bodyKey(base, name), number]);
  const part = await ask.catch((error: unknown) => {
    throw storeError("cannot read the message", error);
  });
  if (!(part instanceof Uint8Array)) throw new DamagedError("a part of the body is missing");
  return decodePart(part);
}

function bodyKey(base: string, name: string): string {
  return `${base}:b:${name}`;
}
