import { crc32 } from "node:zlib";
import { type BodySink, concatBytes, HEAD_BYTES_MAX, type SourceBody } from "../../mail/content.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { DamagedError, storeError } from "../store-error.ts";
import { bodyKey, refKey, refsOf } from "./keys.ts";
import type { BodyPlace } from "./mail-object.ts";
import type { Objects } from "./objects.ts";

const NOTHING = new Uint8Array(0);

/** Bodies of this store that wait for their envelopes. */
export type Uploads = WeakMap<SourceBody, Required<BodyPlace>>;

/** Takes a large body as it comes. What becomes of no message is removed by the housekeeping after a day. */
export function openBodyUpload(name: string, objects: Objects, uploads: Uploads): BodySink {
  const upload = objects.upload(bodyKey(name));
  const heads: Uint8Array[] = [];
  let size = 0;
  let sum = 0;
  let body: SourceBody | undefined;
  let isOpen = true;
  return {
    async write(chunk) {
      if (size < HEAD_BYTES_MAX) heads.push(chunk.slice(0, HEAD_BYTES_MAX - size));
      size += chunk.length;
      sum = crc32(chunk, sum);
      await upload.write(chunk).catch((error: unknown) => {
        throw storeError("cannot store a part of the message", error);
      });
    },
    async end() {
      await upload.end();
      const head = concatBytes(heads);
      const from = { objects, key: bodyKey(name), start: 0, size, sum };
      body = { kind: "source", size, head, stream: () => streamBody(from) };
      uploads.set(body, { name, sum });
      return body;
    },
    async discard() {
      if (!isOpen) return;
      isOpen = false;
      if (body === undefined) return await upload.abort();
      // Once a message took it over it is no longer this sink's to throw away.
      if (uploads.delete(body)) await objects.remove([bodyKey(name)]).catch(() => undefined);
    },
  };
}

export interface StoredBody {
  readonly objects: Objects;
  readonly key: string;
  /** Where it begins in the object. */
  readonly start: number;
  readonly size: number;
  readonly sum: number;
}

/** A stored body that is read as a stream; `onDamage` hears of one that cannot be read before the stream fails. */
export function sourceBody(
  from: StoredBody,
  head: Uint8Array,
  onDamage: (error: DamagedError) => Promise<void>,
): SourceBody {
  return {
    kind: "source",
    size: from.size,
    head,
    async *stream() {
      try {
        yield* streamBody(from);
      } catch (error) {
        if (!(error instanceof DamagedError)) throw error;
        await onDamage(error);
        throw new QueueError(`cannot read the message: ${error.message}`, { cause: error });
      }
    },
  };
}

async function* streamBody({
  objects,
  key,
  start,
  size,
  sum,
}: StoredBody): AsyncGenerator<Uint8Array> {
  let done = 0;
  let seen = 0;
  if (size === 0) return;
  for await (const chunk of objects.stream(key, start)) {
    done += chunk.length;
    seen = crc32(chunk, seen);
    if (done > size) break;
    yield chunk;
  }
  if (done !== size) throw new DamagedError("the body has another length");
  if (seen !== sum) throw new DamagedError("the body fails its checksum");
}

/** Says that a message has this body: before the message is stored. */
export async function refer(objects: Objects, body: string, id: string): Promise<void> {
  await objects.put(refKey(body, id), NOTHING);
}

/** A message that is gone has it no more; the last one takes the body with it. */
export async function release(objects: Objects, body: string, id: string): Promise<void> {
  await objects.remove([refKey(body, id)]);
  const { objects: left } = await objects.list(refsOf(body), "", 1);
  if (left.length === 0) await objects.remove([bodyKey(body)]);
}

/** Throws when the body is not there any more: an envelope that waited for more than a day. */
export async function requireBody(objects: Objects, body: string): Promise<void> {
  const found = await objects.get(bodyKey(body), { start: 0, end: 1 });
  if (found === undefined) throw new QueueError("a streamed body waited too long and is gone");
}
