import type { SpoolFiles } from "./files.ts";

/** The write-ahead file of queue.db is folded into the database after so many rows were written to it. */
const CHECKPOINT_ROWS = 10_000;

/** Makes queue.db's write-ahead file durable, and keeps it short in a thread of its own, off the path of mail. */
export class Checkpointer {
  readonly #files: SpoolFiles;
  readonly #database: string;
  #fd: number | undefined;
  #worker: Worker | undefined;
  #running: PromiseWithResolvers<void> | undefined;
  #rows = 0;

  constructor(files: SpoolFiles, database: string) {
    this.#files = files;
    this.#database = database;
  }

  /** Resolves when every transaction committed before the call would survive a power cut. */
  async sync(): Promise<void> {
    this.#fd ??= this.#files.openForRead(`${this.#database}-wal`);
    await this.#files.syncData(this.#fd);
  }

  /** Rows were written. */
  note(rows: number): void {
    this.#rows += rows;
    if (this.#rows < CHECKPOINT_ROWS || this.#running) return;
    this.#rows = 0;
    void this.#ask(this.#thread(), this.#database);
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

  #ask(worker: Worker, message: string): Promise<void> {
    this.#running = Promise.withResolvers<void>();
    worker.postMessage(message);
    return this.#running.promise;
  }

  #thread(): Worker {
    this.#worker ??= this.#startThread();
    return this.#worker;
  }

  #startThread(): Worker {
    const worker = new Worker(new URL("./checkpoint-worker.ts", import.meta.url));
    const finished = (): void => {
      this.#running?.resolve();
      this.#running = undefined;
    };
    worker.onmessage = finished;
    worker.onerror = finished;
    return worker;
  }
}
