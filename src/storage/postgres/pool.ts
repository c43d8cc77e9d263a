import type { ReservedSQL, SQL } from "bun";

/** Connections that are taken one at a time. */
export interface Pool {
  /** Waits for one when all are taken, until `signal` aborts. */
  take(signal: AbortSignal): Promise<ReservedSQL>;
  /** Whatever is left open on it is rolled back, unless it is sound: then nothing is. */
  giveBack(connection: ReservedSQL, isSound: boolean): void;
  /** Nothing is kept at hand: one of them was lost, and others may be. */
  letGo(): void;
  /** The same for good: the client, which is about to be closed, waits for those that somebody has. */
  close(): void;
}

/**
 * The connections of a client, the one that was given back last first: the server's process behind it has everything in its
 * caches, while going around all of them finds each one cold.
 */
export function openPool(sql: Pick<SQL, "reserve">): Pool {
  const idle: ReservedSQL[] = [];
  const release = (connection: ReservedSQL): void =>
    void connection.release().catch(() => undefined);
  let waiting = 0;
  let isClosed = false;

  function letGo(): void {
    for (const connection of idle.splice(0)) release(connection);
  }

  return {
    async take(signal) {
      const last = idle.pop();
      if (last !== undefined) return last;
      waiting += 1;
      try {
        return await sql.reserve({ signal });
      } finally {
        waiting -= 1;
      }
    },
    giveBack(connection, isSound) {
      // Who waits for one waits at the client.
      if (isSound && waiting === 0 && !isClosed) idle.push(connection);
      else release(connection);
    },
    letGo,
    close() {
      isClosed = true;
      letGo();
    },
  };
}
