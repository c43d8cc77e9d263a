import type { SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";

/** The write-ahead file of queue.db is folded into the database after so many rows were written to it. */
const CHECKPOINT_ROWS = 10_000;

/** Makes queue.db's write-ahead file durable, and keeps it short in a thread of its own, off the path of mail. */
export class Checkpointer {
  readonly #files: SpoolFiles;
  readonly #layout: Pick<Layout, "root" | "database">;
  #fd: number | undefined;
  #worker: Worker | undefined;
  #running: PromiseWithResolvers<string> | undefined;
  #rows = 0;
  /** A sync failed: the system may have thrown away what it could not write, and will not say so again. */
  #isSuspect = false;

  constructor(files: SpoolFiles, layout: Pick<Layout, "root" | "database">) {
    this.#files = files;
    this.#layout = layout;
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

  /** Rows were written. */
  note(rows: number): void {
    this.#rows += rows;
    if (this.#rows < CHECKPOINT_ROWS || this.#running) return;
    this.#rows = 0;
    void this.#ask(this.#thread(), this.#layout.database);
  }

  async close(): Promise<void> {
    await this.#running?.promise;
    if (this.#worker !== undefined) {
      await this.#ask(this.#worker, "");
      this.#worker.terminate();
    }
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
    await this.#running?.promise;
    const problem = await this.#ask(this.#thread(), this.#layout.database);
    if (problem !== "") throw new Error(`no checkpoint: ${problem}`);
  }

  /** Resolves with what went wrong, or an empty text. */
  #ask(worker: Worker, message: string): Promise<string> {
    const answer = Promise.withResolvers<string>();
    this.#running = answer;
    worker.postMessage(message);
    return answer.promise;
  }

  #thread(): Worker {
    this.#worker ??= this.#startThread();
    return this.#worker;
  }

  #startThread(): Worker {
    const worker = new Worker(new URL("./checkpoint-worker.ts", import.meta.url));
    const finish = (problem: string): void => {
      this.#running?.resolve(problem);
      this.#running = undefined;
    };
    worker.onmessage = (event: MessageEvent<string>) => finish(event.data);
    worker.onerror = (event) => finish(event.message === "" ? "the thread failed" : event.message);
    return worker;
  }
}
