import { QueueError } from "./queue-error.ts";

/**
 * A message's bytes, immutable. `prefix` holds the header fields that were put on top after reception, so that
 * several envelopes made out of one transaction share one body.
 */
export interface Content {
  /** Whole lines, ended by CRLF; empty when nothing was put on top. */
  readonly prefix: Uint8Array;
  /** What was received, shared by all envelopes of one transaction. */
  readonly body: Body;
}

/** The bytes as received, lines ended by CRLF: in memory, or somewhere they are read from as a stream. */
export type Body = BytesBody | SourceBody;

/** A body in memory. */
export interface BytesBody {
  readonly kind: "bytes";
  /** All of it; never changed. */
  readonly bytes: Uint8Array;
  /** Known from its reception: every line ends with CRLF, the last one too, and none begins with a dot. */
  readonly plain?: boolean;
}

/** A body that is somewhere else and read as a stream. */
export interface SourceBody {
  readonly kind: "source";
  /** Octets in all. */
  readonly size: number;
  /** The first bytes, at most `HEAD_BYTES_MAX`: enough to see the header. */
  readonly head: Uint8Array;
  /** Reads the bytes from the start; may be called any number of times while the message is stored. */
  stream(): AsyncIterable<Uint8Array>;
}

/** How much of a streamed body stays in memory for those who look at its header. */
export const HEAD_BYTES_MAX = 64 * 1024;

/** Takes a body that is too large for memory, chunk by chunk. */
export interface BodySink {
  /** Takes one chunk; the promise resolves when the next may come. */
  write(chunk: Uint8Array): Promise<void>;
  /** No more chunks. The storage that opened this sink takes the body over, without a copy, with the first `write`. */
  end(): Promise<SourceBody>;
  /** Gives up whatever was written, also after `end`. Idempotent; without effect once an envelope with the body is stored. */
  discard(): Promise<void>;
}

const NOTHING = new Uint8Array(0);

/** Content out of bytes that are already in memory; they are kept by reference and must not change any more. */
export function bytesContent(bytes: Uint8Array): Content {
  return { prefix: NOTHING, body: { kind: "bytes", bytes } };
}

/** Content over a body as it was received, nothing on top. */
export function bodyContent(body: Body): Content {
  return { prefix: NOTHING, body };
}

/** The same content with `bytes` on top of everything; the body is shared. `bytes` are whole lines, ended by CRLF. */
export function withPrefix(content: Content, bytes: Uint8Array): Content {
  return { prefix: concatBytes([bytes, content.prefix]), body: content.body };
}

/** Octets in all, the prefix included. */
export function contentSize(content: Content): number {
  return content.prefix.length + bodySize(content.body);
}

/** Octets of the body alone. */
export function bodySize(body: Body): number {
  return body.kind === "bytes" ? body.bytes.length : body.size;
}

/** The first bytes of a body, at most `HEAD_BYTES_MAX`, without a copy. */
export function bodyHead(body: Body): Uint8Array {
  const bytes = body.kind === "bytes" ? body.bytes : body.head;
  return bytes.length <= HEAD_BYTES_MAX ? bytes : bytes.subarray(0, HEAD_BYTES_MAX);
}

/** The prefix and at most `HEAD_BYTES_MAX` of what is below it. Copies only when there is a prefix. */
export function contentHead(content: Content): Uint8Array {
  return concatBytes([content.prefix, bodyHead(content.body)]);
}

/** All bytes in order; starts over each time it is called. Chunks must not be written to: they may be the stored bytes. */
export async function* contentChunks(
  content: Content,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (content.prefix.length > 0) yield content.prefix;
  if (content.body.kind === "source") yield* content.body.stream();
  else if (content.body.bytes.length > 0) yield content.body.bytes;
}

/**
 * All bytes in one piece, without a copy where they already are. Throws `QueueError` when there are more than
 * `bytesMax`, before anything is read, or when the body is not as long as it says.
 */
export async function readContent(content: Content, bytesMax: number): Promise<Uint8Array> {
  const size = contentSize(content);
  if (size > bytesMax)
    throw new QueueError(`content of ${size} octets, at most ${bytesMax} are read`);
  const chunks: Uint8Array[] = [];
  let read = 0;
  for await (const chunk of contentChunks(content)) {
    read += chunk.length;
    if (read > size) break;
    chunks.push(chunk);
  }
  if (read !== size) throw new QueueError(`content is not ${size} octets long, as it was stored`);
  return concatBytes(chunks);
}

/** Joins bytes; a single piece that is not empty comes back as it is. */
export function concatBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const filled = pieces.filter((piece) => piece.length > 0);
  const [only] = filled;
  if (filled.length <= 1) return only ?? NOTHING;
  const joined = new Uint8Array(filled.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of filled) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}
