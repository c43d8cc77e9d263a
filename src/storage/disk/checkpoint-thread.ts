/** Makes checkpoints of a database where mail is not kept waiting by them. One at a time. */
export interface CheckpointThread {
  /** Folds the write-ahead file of this database into it; resolves with what went wrong, or an empty text. */
  checkpoint(database: string): Promise<string>;
  /** Closes the database and ends, once nothing is under way. */
  end(): Promise<void>;
}

/** Starts a thread of the platform. */
export function startCheckpointThread(): CheckpointThread {
  const worker = new Worker(new URL("./checkpoint-worker.ts", import.meta.url));
  let running: PromiseWithResolvers<string> | undefined;
  const finish = (problem: string): void => {
    running?.resolve(problem);
    running = undefined;
  };
  worker.onmessage = (event: MessageEvent<string>) => finish(event.data);
  worker.onerror = (event) => finish(event.message === "" ? "the thread failed" : event.message);

  function ask(message: string): Promise<string> {
    running = Promise.withResolvers<string>();
    worker.postMessage(message);
    return running.promise;
  }

  return {
    checkpoint: ask,
    async end() {
      await ask("");
      worker.terminate();
    },
  };
}
