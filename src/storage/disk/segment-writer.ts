import type { Body } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { recordText } from "../record.ts";
import type { Settlement } from "../storage.ts";
import { encodeFileHeader, type FileHeader } from "./segment.ts";
import type { SegmentBuffer } from "./segment-buffer.ts";

/** One envelope to be stored. */
export interface Entry {
  readonly id: string;
  readonly envelope: Envelope;
  readonly due: number;
  /** Leased to its writer from the start. */
  readonly lease?: { readonly holder: string; readonly until: number };
  readonly settles?: { readonly id: string; readonly settlement: Settlement };
  /** The settlement is made by whoever has the lease, and ends it. */
  readonly endsLease?: boolean;
  /** A copy that compaction makes of this record. */
  readonly copyOf?: { readonly segment: number; readonly offset: number };
}

/** Where an entry went inside its segment. */
export interface Place {
  readonly offset: number;
  readonly length: number;
}

/** A BODY block that is in the file already. */
export interface PlacedBody {
  readonly offset: number;
  readonly length: number;
}

/**
 * Lays out the bytes of a segment in a buffer, which is cleared first. Bodies that several entries share are written once.
 * The bytes go to the file at `start` in one piece.
 */
export class SegmentLayout {
  readonly #bodies = new Map<Body, PlacedBody>();
  readonly #salt: number;
  readonly #buffer: SegmentBuffer;
  readonly #start: number;

  /** With `start`, what comes before it is in the file already. */
  constructor(buffer: SegmentBuffer, header: FileHeader, start = 0) {
    this.#buffer = buffer;
    this.#salt = header.salt;
    this.#start = start;
    buffer.clear();
    if (start === 0) buffer.bytes(encodeFileHeader(header));
  }

  /** Octets that the file will have. */
  get end(): number {
    return this.#start + this.#buffer.length;
  }

  /** Says where a body is that the file already has. */
  placed(body: Body, at: PlacedBody): void {
    this.#bodies.set(body, at);
  }

  /** Adds an envelope and, unless it is there, its body. */
  add({ id, envelope, due, settles }: Entry): Place {
    const { body, prefix } = envelope.content;
    const at = this.#place(body);
    const more = settles ? { settles } : {};
    const place = { bodyOffset: at.offset, bodyLength: at.length };
    const text = recordText({ id, envelope, due, ...place, ...more });
    const offset = this.end;
    const length = this.#buffer.block("ENVL", this.#salt, () => {
      this.#buffer.text(text);
      this.#buffer.bytes(prefix);
    });
    return { offset, length };
  }

  /** All bytes, with the end mark: good until the buffer is used again. */
  finish(): Uint8Array {
    this.#buffer.block("DONE", this.#salt, () => undefined);
    return this.#buffer.written();
  }

  #place(body: Body): PlacedBody {
    const known = this.#bodies.get(body);
    if (known !== undefined) return known;
    if (body.kind !== "bytes")
      throw new Error("a streamed body must be in its file before its envelopes");
    const offset = this.end;
    const length = this.#buffer.block("BODY", this.#salt, () => this.#buffer.bytes(body.bytes));
    const place = { offset, length };
    this.#bodies.set(body, place);
    return place;
  }
}
