import { crc32 } from "node:zlib";
import type { Body } from "../../mail/content.ts";
import { HEAD_BYTES_MAX } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { readBlock, sourceBody } from "./body-file.ts";
import { isMissing, type SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";
import { decodeRecord, envelopeOf, type Record } from "./record.ts";
import { BLOCK_HEADER_BYTES, type Block, blockEnd, parseBlockHeader } from "./segment.ts";

/** A record that cannot be read because its bytes are wrong or gone: reading it again would not help. */
export class DamagedError extends Error {
  override readonly name = "DamagedError";
}

/** Where a record is. */
export interface At {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

const OPEN_FILES_MAX = 64;
/** Bodies up to this many octets are read whole; larger ones are streamed while they are relayed. */
const WHOLE_BYTES_MAX = 256 * 1024;

interface OpenSegment {
  readonly number: number;
  readonly fd: number;
  readonly size: number;
  users: number;
  dropped: boolean;
}

/** Reads records back out of segments; keeps the files used last open. */
export class SegmentReader {
  readonly #files: SpoolFiles;
  readonly #layout: Layout;
  /** In the order of their last use. */
  readonly #open = new Map<number, OpenSegment>();

  /** How many read a segment at this moment, also when its file is no longer among the open ones. */
  readonly #reading = new Map<number, number>();

  constructor(files: SpoolFiles, layout: Layout) {
    this.#files = files;
    this.#layout = layout;
  }

  /** Throws `DamagedError` when a checksum fails or the file is gone, and the system's error when the disk is sick. */
  async read(at: At): Promise<Envelope> {
    return await this.#with(at.segment, async (segment) => {
      const record = await this.#record(segment, at);
      return envelopeOf(record, await this.#body(segment, at.segment, record));
    });
  }

  /** Several records of one segment, in their order; those that share a body share it in the result too. */
  async readAll(places: readonly At[]): Promise<readonly Envelope[]> {
    const number = places[0]?.segment;
    if (number === undefined) return [];
    return await this.#with(number, async (segment) => {
      const bodies = new Map<number, Body>();
      const envelopes: Envelope[] = [];
      for (const at of places) {
        const record = await this.#record(segment, at);
        const body = bodies.get(record.bodyOffset) ?? (await this.#body(segment, number, record));
        bodies.set(record.bodyOffset, body);
        envelopes.push(envelopeOf(record, body));
      }
      return envelopes;
    });
  }

  /** Compares every checksum of one record, reading a large body piece by piece. */
  async verify(at: At): Promise<void> {
    await this.#with(at.segment, async (segment) => {
      const record = await this.#record(segment, at);
      const block = await this.#block(segment, record.bodyOffset, "BODY");
      const place = { offset: block.offset + BLOCK_HEADER_BYTES, length: block.length };
      try {
        for await (const _ of readBlock(this.#files, segment.fd, { ...place, crc: block.crc }));
      } catch (cause) {
        throw new DamagedError("the body fails its checksum", { cause });
      }
    });
  }

  /** Forgets an open segment, since its file goes. Returns whether somebody is reading it at this moment. */
  drop(number: number): boolean {
    this.#forget(number);
    return this.#reading.has(number);
  }

  close(): void {
    for (const number of [...this.#open.keys()]) this.#forget(number);
  }

  async #record(segment: OpenSegment, at: At): Promise<Record> {
    const block = await this.#block(segment, at.offset, "ENVL");
    if (block.length !== at.length)
      throw new DamagedError("the record has another length than its row");
    const payload = await this.#payload(segment, block);
    try {
      return decodeRecord(payload);
    } catch (cause) {
      throw new DamagedError("the record cannot be understood", { cause });
    }
  }

  async #body(segment: OpenSegment, number: number, record: Record): Promise<Body> {
    const block = await this.#block(segment, record.bodyOffset, "BODY");
    if (block.length !== record.bodyLength)
      throw new DamagedError("the body has another length than its record");
    if (block.length <= WHOLE_BYTES_MAX) {
      return { kind: "bytes", bytes: await this.#payload(segment, block) };
    }
    const start = block.offset + BLOCK_HEADER_BYTES;
    const head = await this.#files.readAt(segment.fd, HEAD_BYTES_MAX, start);
    const place = { offset: start, length: block.length, crc: block.crc };
    return sourceBody(block.length, head, () => this.#stream(number, place));
  }

  async *#stream(
    number: number,
    place: { readonly offset: number; readonly length: number; readonly crc: number },
  ): AsyncGenerator<Uint8Array> {
    const segment = this.#take(number);
    try {
      yield* readBlock(this.#files, segment.fd, place);
    } finally {
      this.#giveBack(segment);
    }
  }

  async #block(segment: OpenSegment, offset: number, type: Block["type"]): Promise<Block> {
    const bytes = await this.#files.readAt(segment.fd, BLOCK_HEADER_BYTES, offset);
    const block = parseBlockHeader(bytes, 0, offset);
    if (block?.type !== type || blockEnd(block) > segment.size) {
      throw new DamagedError(`no ${type} block at offset ${offset}`);
    }
    return block;
  }

  async #payload(segment: OpenSegment, block: Block): Promise<Uint8Array> {
    const start = block.offset + BLOCK_HEADER_BYTES;
    const payload = await this.#files.readAt(segment.fd, block.length, start);
    if (payload.length !== block.length || crc32(payload) !== block.crc) {
      throw new DamagedError(
        `the ${block.type} block at offset ${block.offset} fails its checksum`,
      );
    }
    return payload;
  }

  async #with<T>(number: number, use: (segment: OpenSegment) => Promise<T>): Promise<T> {
    const segment = this.#take(number);
    try {
      return await use(segment);
    } finally {
      this.#giveBack(segment);
    }
  }

  #take(number: number): OpenSegment {
    const known = this.#open.get(number);
    const segment = known ?? this.#openSegment(number);
    this.#open.delete(number);
    this.#open.set(number, segment);
    segment.users += 1;
    this.#reading.set(number, (this.#reading.get(number) ?? 0) + 1);
    this.#shrink();
    return segment;
  }

  #openSegment(number: number): OpenSegment {
    try {
      const fd = this.#files.openForRead(this.#layout.segment(number));
      return { number, fd, size: this.#files.size(fd), users: 0, dropped: false };
    } catch (cause) {
      if (isMissing(cause)) throw new DamagedError("its segment is gone", { cause });
      throw cause;
    }
  }

  #giveBack(segment: OpenSegment): void {
    segment.users -= 1;
    const others = (this.#reading.get(segment.number) ?? 1) - 1;
    if (others === 0) this.#reading.delete(segment.number);
    else this.#reading.set(segment.number, others);
    this.#closeUnused(segment);
  }

  #shrink(): void {
    if (this.#open.size <= OPEN_FILES_MAX) return;
    const [oldest] = this.#open.keys();
    if (oldest !== undefined) this.#forget(oldest);
  }

  #forget(number: number): void {
    const segment = this.#open.get(number);
    if (segment === undefined) return;
    this.#open.delete(number);
    segment.dropped = true;
    this.#closeUnused(segment);
  }

  #closeUnused(segment: OpenSegment): void {
    if (segment.dropped && segment.users === 0) this.#files.close(segment.fd);
  }
}
