import { type CheckpointThread, startCheckpointThread } from "./checkpoint-thread.ts";
import type { SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";

/** The write-ahead file of queue.db is folded into the database after so many rows were written to it. */
const CHECKPOINT_ROWS = 10_000;
/**
 * A transaction counts as so many more: it writes whole pages of the table and of each index, and others that nobody counts
 * come with it. Ten thousand of one row each made a file of half a gigabyte, to be read by the next start after a crash.
 */
const TRANSACTION_ROWS = 50;

/** Makes queue.db's write-ahead file durable, and keeps it short in a thread of its own, off the path of mail. */
export class Checkpointer {
  readonly #files: SpoolFiles;
  readonly #layout: Pick<Layout, "root" | "database">;
  readonly #start: () => CheckpointThread;
  readonly #rowsMax: number;
  #fd: number | undefined;
  #thread: CheckpointThread | undefined;
  #running: Promise<string> | undefined;
  #rows = 0;
  /** A sync failed: the system may have thrown away what it could not write, and will not say so again. */
  #isSuspect = false;

  /** `start` is called when the first checkpoint is due. */
  constructor(
    files: SpoolFiles,
    layout: Pick<Layout, "root" | "database">,
    start: () => CheckpointThread = startCheckpointThread,
    rowsMax = CHECKPOINT_ROWS,
  ) {
    this.#files = files;
    this.#layout = layout;
    this.#start = start;
    this.#rowsMax = rowsMax;
  }

  /** Resolves when every transaction committed before the call would survive a power cut. */
  async sync(): Promise<void> {
    try {
      await this.#files.syncData(this.#fd ?? (await this.#open()));
    } catch (error) {
      this.#isSuspect = true;
      throw error;
    }
    if (!this.#isSuspect) return;
    await this.#foldIn();
    this.#isSuspect = false;
  }

  /** A transaction has written these rows. */
  note(rows: number): void {
    this.#rows += TRANSACTION_ROWS + rows;
    if (this.#rows < this.#rowsMax || this.#running !== undefined) return;
    this.#rows = 0;
    void this.#checkpoint();
  }

  async close(): Promise<void> {
    await this.#running;
    await this.#thread?.end();
    if (this.#fd !== undefined) this.#files.close(this.#fd);
    this.#fd = undefined;
  }

  /** The file's name has to be durable as well. */
  async #open(): Promise<number> {
    const fd = this.#files.openForRead(`${this.#layout.database}-wal`);
    try {
      await this.#files.syncDirectory(this.#layout.root);
    } catch (error) {
      this.#files.close(fd);
      throw error;
    }
    this.#fd = fd;
    return fd;
  }

  /** Writes what is in the write-ahead file to another place, the database, and syncs that. */
  async #foldIn(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    const problem = await this.#checkpoint();
    if (problem !== "") throw new Error(`no checkpoint: ${problem}`);
  }

  /** Resolves with what went wrong, or an empty text. Nothing else is running. */
  #checkpoint(): Promise<string> {
    this.#thread ??= this.#start();
    const running = this.#thread.checkpoint(this.#layout.database).finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}
