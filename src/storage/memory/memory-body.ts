import { assert } from "../../lib/assert.ts";
import { type BodySink, concatBytes, HEAD_BYTES_MAX, type SourceBody } from "../../mail/content.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { reply } from "../../mail/reply.ts";

/** What is in the bodies that ended in memory. */
const kept = new WeakMap<SourceBody, readonly Uint8Array[]>();

/** The chunks of a body that ended in memory, without waiting for them. */
export function chunksOf(body: SourceBody): readonly Uint8Array[] {
  const chunks = kept.get(body);
  assert(chunks !== undefined, "streamed bodies come into memory first");
  return chunks;
}

/** Keeps the chunks of a body in memory, at most `bytesMax` octets of them: beyond, `write` rejects with a 452. */
export function openMemoryBody(bytesMax: number, known: WeakSet<SourceBody>): BodySink {
  let chunks: Uint8Array[] = [];
  let size = 0;
  return {
    async write(chunk) {
      if (size + chunk.length > bytesMax) {
        throw new QueueError(`a body of more than ${bytesMax} octets is not kept in memory`, {
          reply: reply(452, "4.3.1", "Insufficient system storage"),
        });
      }
      size += chunk.length;
      // The next chunk may come in the same buffer.
      chunks.push(chunk.slice());
    },
    async end() {
      const all = chunks;
      const body: SourceBody = {
        kind: "source",
        size,
        head: headOf(all),
        async *stream() {
          yield* all;
        },
      };
      known.add(body);
      kept.set(body, all);
      return body;
    },
    async discard() {
      chunks = [];
    },
  };
}

function headOf(chunks: readonly Uint8Array[]): Uint8Array {
  const first: Uint8Array[] = [];
  let length = 0;
  for (const chunk of chunks) {
    if (length >= HEAD_BYTES_MAX) break;
    first.push(chunk);
    length += chunk.length;
  }
  return concatBytes(first).slice(0, HEAD_BYTES_MAX);
}
