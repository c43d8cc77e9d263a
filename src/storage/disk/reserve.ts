import { codeOf } from "../../lib/error-code.ts";
import type { SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";
import type { StateDb } from "./state-db.ts";

/** What is kept back: enough for queue.db to note the end of thousands of messages. */
export const RESERVE_BYTES = 4 * 1024 * 1024;
/** The reserve is only made where this much is free, so that it is never what fills a disk. */
const ROOM_BYTES = 2 * RESERVE_BYTES;
const CHUNK_BYTES = 256 * 1024;

/**
 * Space that is kept back for the day when the disk is full. Even to deliver and forget a message something must be
 * written; without the reserve a full disk would stop the deliveries that make room (P7). It is given up when the
 * database finds no space, and made again when there is some. While it is given up no new mail may come in.
 */
export class Reserve {
  readonly #files: SpoolFiles;
  readonly #path: string;
  #kept: boolean;
  #isSpent = false;
  #making = false;

  constructor(files: SpoolFiles, path: string) {
    this.#files = files;
    this.#path = path;
    // A power cut may have left its name without its space.
    this.#kept = files.exists(path) && files.status(path).size >= RESERVE_BYTES;
  }

  /** It was given up, and the disk has not recovered since. */
  get isSpent(): boolean {
    return this.#isSpent;
  }

  /** Gives the space to whoever needs it most. Never rejects. */
  async spend(): Promise<void> {
    this.#isSpent = true;
    if (!this.#kept || this.#making) return;
    this.#kept = false;
    await this.#files.unlink(this.#path).catch(() => undefined);
  }

  /** Keeps space back again as soon as there is enough. Never rejects: without it everything works but on a full disk. */
  async refill(freeBytes: number): Promise<void> {
    if (freeBytes < ROOM_BYTES || this.#making) return;
    this.#isSpent = false;
    if (this.#kept) return;
    this.#making = true;
    try {
      await this.#make();
      this.#kept = true;
    } catch {
      await this.#files.unlink(this.#path).catch(() => undefined);
    } finally {
      this.#making = false;
    }
  }

  async #make(): Promise<void> {
    await this.#files.unlink(this.#path);
    const fd = this.#files.create(this.#path);
    try {
      const chunk = new Uint8Array(CHUNK_BYTES);
      for (let done = 0; done < RESERVE_BYTES; done += chunk.length) {
        await this.#files.appendSlowly(fd, chunk);
      }
    } finally {
      this.#files.close(fd);
    }
  }
}

/** Opens the reserve of a spool; on a disk that is full already it is given up at once, or not even the start would work. */
export async function openReserve(files: SpoolFiles, layout: Layout): Promise<Reserve> {
  const reserve = new Reserve(files, layout.reserve);
  try {
    const { freeBytes } = await files.freeSpace(layout.root);
    if (freeBytes < RESERVE_BYTES / 2) await reserve.spend();
  } catch {
    // Whoever watches the space says so.
  }
  return reserve;
}

/** Runs the database's transactions; the first that finds no space left calls `onFull`, for whoever tries again. */
export function noticingFull(db: StateDb, onFull: () => void): StateDb {
  return {
    ...db,
    transaction(work) {
      try {
        db.transaction(work);
      } catch (error) {
        if (isFull(error)) onFull();
        throw error;
      }
    },
  };
}

/** Whether an error of the file system or of SQLite says that there is no space left. */
function isFull(error: unknown): boolean {
  if (error instanceof Error && error.cause !== undefined && isFull(error.cause)) return true;
  return /^(?:ENOSPC|EDQUOT|SQLITE_FULL|SQLITE_IOERR_SHMSIZE)$/u.test(codeOf(error));
}
