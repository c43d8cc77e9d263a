import { crc32 } from "node:zlib";
import type { Body } from "../../mail/content.ts";
import { HEAD_BYTES_MAX } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { decodeRecord, envelopeOf, type Record } from "../record.ts";
import { DamagedError } from "../store-error.ts";
import { readBlock, sourceBody } from "./body-file.ts";
import { isNoFile, type SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";
import {
  BLOCK_HEADER_BYTES,
  type Block,
  blockEnd,
  ENVELOPE_BYTES_MAX,
  parseBlockHeader,
} from "./segment.ts";

/** Where a record is, and of which message. */
export interface At {
  readonly id: string;
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

  /** Called when a large body turns out to be damaged while it is streamed, before the stream fails. */
  readonly #onDamage: (at: At, error: DamagedError) => void;

  constructor(
    files: SpoolFiles,
    layout: Layout,
    onDamage: (at: At, error: DamagedError) => void = () => undefined,
  ) {
    this.#files = files;
    this.#layout = layout;
    this.#onDamage = onDamage;
  }

  /** Throws `DamagedError` when a checksum fails or the file is gone, and the system's error when the disk is sick. */
  async read(at: At): Promise<Envelope> {
    return await this.#with(at.segment, async (segment) => {
      const record = await this.#record(segment, at);
      return envelopeOf(record, await this.#body(segment, at, record));
    });
  }

  /**
   * Several records of one segment with their bodies whole in memory; those that share a body share it in the result too.
   * `undefined` stands for one that is damaged.
   */
  async readAll(places: readonly At[]): Promise<readonly (Envelope | undefined)[]> {
    const number = places[0]?.segment;
    if (number === undefined) return [];
    return await this.#with(number, async (segment) => {
      const bodies = new Map<number, Body>();
      const envelopes: (Envelope | undefined)[] = [];
      for (const at of places) envelopes.push(await this.#readWhole(segment, at, bodies));
      return envelopes;
    });
  }

  async #readWhole(
    segment: OpenSegment,
    at: At,
    bodies: Map<number, Body>,
  ): Promise<Envelope | undefined> {
    try {
      const record = await this.#record(segment, at);
      const known = bodies.get(record.bodyOffset);
      const body = known ?? (await this.#body(segment, at, record, record.bodyLength));
      bodies.set(record.bodyOffset, body);
      return envelopeOf(record, body);
    } catch (error) {
      if (error instanceof DamagedError) return undefined;
      throw error;
    }
  }

  /** What a record says, its body aside. */
  async readRecord(at: At): Promise<Record> {
    return await this.#with(at.segment, async (segment) => {
      const record = await this.#record(segment, at);
      await this.#bodyBlock(segment, record);
      return record;
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
    if (block.length !== at.length || block.length > ENVELOPE_BYTES_MAX)
      throw new DamagedError("the record has another length than its row");
    const record = decoded(await this.#payload(segment, block));
    // The bytes of somebody else must not go out under this id, whatever led here.
    if (record.id !== at.id) throw new DamagedError(`the record is of message ${record.id}`);
    return record;
  }

  async #body(
    segment: OpenSegment,
    at: At,
    record: Record,
    wholeBytesMax = WHOLE_BYTES_MAX,
  ): Promise<Body> {
    const block = await this.#bodyBlock(segment, record);
    if (block.length <= wholeBytesMax) {
      return { kind: "bytes", bytes: await this.#payload(segment, block) };
    }
    const start = block.offset + BLOCK_HEADER_BYTES;
    const head = await this.#files.readAt(segment.fd, HEAD_BYTES_MAX, start);
    const place = { offset: start, length: block.length, crc: block.crc };
    return sourceBody(block.length, head, () => this.#stream(at, place));
  }

  async #bodyBlock(segment: OpenSegment, record: Record): Promise<Block> {
    const block = await this.#block(segment, record.bodyOffset, "BODY");
    if (block.length === record.bodyLength) return block;
    throw new DamagedError("the body has another length than its record");
  }

  async *#stream(
    at: At,
    place: { readonly offset: number; readonly length: number; readonly crc: number },
  ): AsyncGenerator<Uint8Array> {
    const segment = this.#take(at.segment);
    try {
      yield* readBlock(this.#files, segment.fd, place);
    } catch (error) {
      if (error instanceof DamagedError) this.#onDamage(at, error);
      throw error;
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
      if (isNoFile(cause)) throw new DamagedError("its segment is gone", { cause });
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

function decoded(payload: Uint8Array): Record {
  try {
    return decodeRecord(payload);
  } catch (cause) {
    throw new DamagedError("the record cannot be understood", { cause });
  }
}
