import { crc32 } from "node:zlib";
import { BLOCK_HEADER_BYTES, type BlockType } from "./segment.ts";

const START_BYTES = 256 * 1024;
/** A buffer that grew beyond this for one large group is given back. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;
/** UTF-8 needs no more octets than this for one UTF-16 unit. */
const UTF8_OCTETS_MAX = 3;
const HIGH_WORD = 2 ** 32;

/**
 * Where the bytes of a segment are put together, one group after the other in the same memory: what goes to disk in one
 * write is copied once, and nothing is allocated for it.
 */
export class SegmentBuffer {
  #bytes = Buffer.allocUnsafeSlow(START_BYTES);
  #view = viewOf(this.#bytes);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
    if (this.#bytes.length > KEPT_BYTES_MAX) this.#replace(START_BYTES);
  }

  /** Everything since `clear`: a view that is good until the next change. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** One block around whatever `fill` appends; returns the length of the payload. */
  block(type: BlockType, salt: number, fill: () => void): number {
    this.#reserve(BLOCK_HEADER_BYTES);
    const start = this.#length;
    this.#length += BLOCK_HEADER_BYTES;
    fill();
    const payload = start + BLOCK_HEADER_BYTES;
    const length = this.#length - payload;
    const view = this.#view;
    for (let index = 0; index < 4; index += 1) this.#bytes[start + index] = type.charCodeAt(index);
    view.setUint32(start + 4, crc32(this.#bytes.subarray(payload, this.#length)));
    view.setUint32(start + 8, Math.floor(length / HIGH_WORD));
    view.setUint32(start + 12, length % HIGH_WORD);
    view.setUint32(start + 16, salt);
    view.setUint32(start + 20, crc32(this.#bytes.subarray(start, start + 20)));
    return length;
  }

  /** A text in UTF-8 behind the number of its octets. */
  text(text: string): void {
    this.#reserve(4 + text.length * UTF8_OCTETS_MAX);
    const start = this.#length;
    const octets = this.#bytes.write(text, start + 4);
    this.#view.setUint32(start, octets);
    this.#length = start + 4 + octets;
  }

  #reserve(octets: number): void {
    const needed = this.#length + octets;
    if (needed <= this.#bytes.length) return;
    const old = this.#bytes.subarray(0, this.#length);
    this.#replace(2 ** Math.ceil(Math.log2(needed)));
    this.#bytes.set(old);
  }

  #replace(octets: number): void {
    this.#bytes = Buffer.allocUnsafeSlow(octets);
    this.#view = viewOf(this.#bytes);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
