import type { SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";

/** Files kept for reuse. */
const SPARES_MAX = 256;
/** A file larger than this is not worth keeping. */
const SPARE_BYTES_MAX = 2 * 1024 * 1024;
/** Octets that all spares may take up. */
const SPARES_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Files of ended segments, moved back to scratch to be written over. Making and removing a file is the dearest part of a
 * commit: ext4 looks, for each file that is made, at every inode that was freed in the last minutes. A file that is written
 * over has its blocks already too, so that its data sync need not wait for the file system's journal.
 *
 * What stays behind the end mark of a reused file belongs to nobody. The segment number inside tells, should a
 * power cut bring the old name back, that the content is not the old segment's.
 */
export class Spares {
  readonly #files: SpoolFiles;
  readonly #layout: Layout;
  readonly #spares: { readonly path: string; readonly size: number }[] = [];
  #bytes = 0;
  #number = 0;

  constructor(files: SpoolFiles, layout: Layout) {
    this.#files = files;
    this.#layout = layout;
  }

  /** Takes a segment's file out of `content/`. False: it is not worth keeping, or is kept by another name too. */
  offer(segment: number): boolean {
    if (this.#spares.length >= SPARES_MAX) return false;
    const from = this.#layout.segment(segment);
    try {
      const { size, names } = this.#files.status(from);
      if (names !== 1 || size > SPARE_BYTES_MAX || this.#bytes + size > SPARES_BYTES_MAX) {
        return false;
      }
      this.#number += 1;
      const path = `${this.#layout.scratch}/spare-${this.#number}`;
      this.#files.rename(from, path);
      this.#spares.push({ path, size });
      this.#bytes += size;
      return true;
    } catch {
      return false;
    }
  }

  /** A file to be written over from its start, if there is one. */
  take(): string | undefined {
    const spare = this.#spares.pop();
    if (spare === undefined) return undefined;
    this.#bytes -= spare.size;
    return spare.path;
  }

  /** Gives the space of all of them back, because there is no other. Never throws. */
  drop(): void {
    for (const { path } of this.#spares.splice(0)) this.#files.unlink(path).catch(() => undefined);
    this.#bytes = 0;
  }
}
