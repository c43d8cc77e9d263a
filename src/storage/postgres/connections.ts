import type { ReservedSQL } from "bun";
import type { Clock } from "../../lib/world.ts";
import { isAboutData, isConflict, reasonOf, storeError } from "./errors.ts";
import type { Pool } from "./pool.ts";

/** One piece of work has its connection and its answer within this time, or is given up. */
export const WORK_MS_MAX = 10_000;
/** While the database cannot be used it is tried so often, whether anybody asks or not. */
const RETRY_MS = 1000;

/** The bounded set of connections to the database, and whether it works. */
export interface Connections {
  /**
   * Does work on a connection that it has for itself. Rejects with `QueueError` when the database cannot be used, within
   * `WORK_MS_MAX`; nothing is tried again. Whatever is left open on the connection is rolled back.
   */
  run<T>(work: (connection: ReservedSQL) => Promise<T>): Promise<T>;
  /** Why nothing can be written; `undefined` while nothing is known to be wrong. */
  refusal(): string | undefined;
  /** Ends the waiting for a better time. */
  stop(): void;
}

export interface ConnectionsParts {
  readonly pool: Pool;
  readonly clock: Clock;
  /** Resolves when a small durable write works. */
  readonly check: () => Promise<void>;
}

/** Connections over a pool; after a failure `check` is repeated until it works, so that service resumes by itself. */
export function openConnections({ pool, clock, check }: ConnectionsParts): Connections {
  let trouble: string | undefined;
  let cancelRetry: (() => void) | undefined;
  let stopped = false;

  function retryLater(): void {
    if (stopped || cancelRetry !== undefined) return;
    cancelRetry = clock.after(RETRY_MS, () => {
      cancelRetry = undefined;
      check().then(
        () => {
          trouble = undefined;
        },
        () => retryLater(),
      );
    });
  }

  function failed(error: unknown): void {
    if (stopped || isAboutData(error) || isConflict(error)) return;
    trouble = `the database cannot be used: ${reasonOf(error)}`;
    retryLater();
  }

  return {
    async run(work) {
      try {
        return await reserved(pool, clock, work);
      } catch (error) {
        // What is no error of the database is the caller's own.
        if (!(error instanceof Bun.SQL.PostgresError || error instanceof TimeoutError)) throw error;
        failed(error);
        throw isAboutData(error) || isConflict(error) ? error : storeError(error);
      }
    },
    refusal: () => trouble,
    stop() {
      stopped = true;
      cancelRetry?.();
      pool.close();
    },
  };
}

/** Nobody answered in time: a frozen server, or a network that swallows what is sent. */
class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** Work on a connection of the pool that is given up in time. */
async function reserved<T>(
  pool: Pool,
  clock: Clock,
  work: (connection: ReservedSQL) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const { promise: late, reject } = Promise.withResolvers<never>();
  late.catch(() => undefined);
  let connection: ReservedSQL | undefined;
  const cancel = clock.after(WORK_MS_MAX, () => {
    const error = new TimeoutError(`no answer within ${WORK_MS_MAX / 1000} s`);
    abort.abort(error);
    reject(error);
    // The answer may still come: nobody else must get it.
    void connection?.close({ timeout: 0 }).catch(() => undefined);
  });
  let isDone = false;
  try {
    connection = await pool.take(abort.signal);
    const value = await Promise.race([work(connection), late]);
    isDone = true;
    return value;
  } finally {
    cancel();
    if (connection !== undefined) pool.giveBack(connection, isDone);
  }
}
