/**
 * A message's bytes, immutable. `prefix` holds the header fields that were put on top after reception, so that
 * several envelopes made out of one transaction share one body.
 */
export interface Content {
  readonly prefix: Uint8Array;
  readonly body: Body;
}

/** The bytes as received, lines ended by CRLF: in memory, or somewhere they are read from as a stream. */
export type Body = BytesBody | SourceBody;

export interface BytesBody {
  readonly kind: "bytes";
  readonly bytes: Uint8Array;
}

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
  /** No more chunks. The body may be given to the `write` of the storage that opened this sink, any number of times. */
  end(): Promise<SourceBody>;
  /** Gives up whatever was written, also after `end`. Idempotent; without effect once an envelope with the body is stored. */
  discard(): Promise<void>;
}
