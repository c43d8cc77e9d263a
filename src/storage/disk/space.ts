import { codeOf } from "../../lib/error-code.ts";
import type { Clock } from "../../lib/world.ts";
import type { SpoolFiles } from "./files.ts";
import type { Reserve } from "./reserve.ts";

/** How old a measurement of the free space may be before somebody who asks starts another. */
const FRESH_MS = 1000;

const INSUFFICIENT = "insufficient free space in the spool";

/** When the spool counts as full: below either of the two. */
export interface SpaceFloor {
  readonly freeBytesMin: number;
  readonly freePercentMin: number;
}

/**
 * Watches the free space of the spool without polling: whoever asks gets the last answer, and an old one makes it look
 * again behind their back.
 */
export class SpaceWatch {
  readonly #files: SpoolFiles;
  readonly #path: string;
  readonly #floor: SpaceFloor;
  readonly #clock: Clock;
  readonly #reserve: Reserve;
  #refusal: string | undefined;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #measuring = false;

  constructor(
    files: SpoolFiles,
    path: string,
    floor: SpaceFloor,
    parts: { readonly clock: Clock; readonly reserve: Reserve },
  ) {
    this.#files = files;
    this.#path = path;
    this.#floor = floor;
    this.#clock = parts.clock;
    this.#reserve = parts.reserve;
  }

  /** Undefined while there is room. */
  refusal(): string | undefined {
    if (this.#clock.now() - this.#measuredAt > FRESH_MS && !this.#measuring) void this.measure();
    return this.#reserve.isSpent ? INSUFFICIENT : this.#refusal;
  }

  /** Never throws: a file system that does not answer is its own trouble, which writing will find. */
  async measure(): Promise<void> {
    this.#measuring = true;
    try {
      const { freeBytes, totalBytes } = await this.#files.freeSpace(this.#path);
      const percent = totalBytes === 0 ? 100 : (100 * freeBytes) / totalBytes;
      const isFull = freeBytes < this.#floor.freeBytesMin || percent < this.#floor.freePercentMin;
      this.#refusal = isFull ? INSUFFICIENT : undefined;
      if (!isFull) await this.#reserve.refill(freeBytes);
    } catch (error) {
      this.#refusal = `the spool cannot be examined${codeOf(error) === "" ? "" : ` (${codeOf(error)})`}`;
    } finally {
      this.#measuredAt = this.#clock.now();
      this.#measuring = false;
    }
  }
}
