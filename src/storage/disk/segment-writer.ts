import { crc32 } from "node:zlib";
import type { Body } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import type { Settlement } from "../storage.ts";
import { encodeRecord } from "./record.ts";
import {
  BLOCK_HEADER_BYTES,
  encodeFileHeader,
  FILE_HEADER_BYTES,
  type FileHeader,
  writeBlockHeader,
} from "./segment.ts";

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
 * Lays out the bytes of a segment. Bodies that several entries share are written once. Pure: it only makes bytes, which
 * go to the file at `start` in one piece.
 */
export class SegmentLayout {
  readonly #chunks: Uint8Array[] = [];
  readonly #bodies = new Map<Body, PlacedBody>();
  readonly #salt: number;
  #offset: number;
  #size = 0;

  /** With `start`, what comes before it is in the file already. */
  constructor(header: FileHeader, start?: number) {
    this.#salt = header.salt;
    this.#offset = start ?? FILE_HEADER_BYTES;
    if (start === undefined) this.#chunks.push(encodeFileHeader(header));
    this.#size = start === undefined ? FILE_HEADER_BYTES : 0;
  }

  /** Octets that the file will have, without the end mark. */
  get end(): number {
    return this.#offset;
  }

  /** Says where a body is that the file already has. */
  placed(body: Body, at: PlacedBody): void {
    this.#bodies.set(body, at);
  }

  /** Adds an envelope and, unless it is there, its body. */
  add(entry: Entry): Place {
    const body = this.#place(entry.envelope.content.body);
    const payload = encodeRecord({
      id: entry.id,
      envelope: entry.envelope,
      due: entry.due,
      prefix: entry.envelope.content.prefix,
      bodyOffset: body.offset,
      bodyLength: body.length,
      ...(entry.settles ? { settles: entry.settles } : {}),
    });
    return { offset: this.#block("ENVL", payload), length: payload.length };
  }

  /** All bytes, with the end mark. */
  finish(): Uint8Array {
    this.#block("DONE", new Uint8Array(0));
    const bytes = new Uint8Array(this.#size);
    let at = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }

  #place(body: Body): PlacedBody {
    const known = this.#bodies.get(body);
    if (known !== undefined) return known;
    if (body.kind !== "bytes")
      throw new Error("a streamed body must be in its file before its envelopes");
    const place = { offset: this.#block("BODY", body.bytes), length: body.bytes.length };
    this.#bodies.set(body, place);
    return place;
  }

  #block(type: "BODY" | "ENVL" | "DONE", payload: Uint8Array): number {
    const header = new Uint8Array(BLOCK_HEADER_BYTES);
    const crc = crc32(payload);
    writeBlockHeader(header, 0, { type, length: payload.length, crc, salt: this.#salt });
    this.#chunks.push(header, payload);
    const offset = this.#offset;
    this.#offset += header.length + payload.length;
    this.#size += header.length + payload.length;
    return offset;
  }
}
