import type { ReservedSQL } from "bun";
import type { Clock } from "../../lib/world.ts";
import type { ServerClock } from "../server-clock.ts";
import { type Connections, WORK_MS_MAX } from "./connections.ts";
import { isRolledBack, storeError } from "./errors.ts";
import type { Tables } from "./schema.ts";

/** How long the outcome of a commit is asked for when its answer was lost. */
export const OUTCOME_MS_MAX = 15_000;
const ASK_EVERY_MS = 200;
/** How long outcomes are kept for who asks: long after everybody has stopped to. */
const KEPT = "interval '2 minutes'";

/** Durable steps: all of each or, when it rejects, nothing, one case aside; see `openTransactions`. */
export interface Transactions {
  /** Several statements as one step. */
  run<T>(work: (connection: ReservedSQL) => Promise<T>): Promise<T>;
  /**
   * One statement as one step, in one round trip: it leaves the token itself, see `leaveInTime`, and resolves with whether
   * it was in time.
   */
  once(work: (connection: ReservedSQL, step: Step) => Promise<boolean>): Promise<void>;
}

/** A step of one statement. */
export interface Step {
  /** What it has to leave. */
  readonly token: string;
  /** The instant of the database's clock from which on it must not happen: nobody waits for it any more. */
  readonly deadline: number;
}

export interface TransactionParts {
  readonly tables: Tables;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly serverClock: Pick<ServerClock, "now" | "measure">;
  readonly newId: () => string;
}

/**
 * Transactions whose outcome is known even when the connection is lost while they commit. Each leaves a token, and who lost
 * the answer tries to leave the same: that waits for a commit that is still under way, and succeeds only when there was
 * none and will be none. (The server's own account of transactions does not do: after a crash it gives the number of one
 * that was lost to another.) Only when the server does not come back within `OUTCOME_MS_MAX` the work counts as failed
 * although it may have been done.
 */
export function openTransactions(parts: TransactionParts): Transactions {
  const { tables, connections, serverClock, newId } = parts;
  const leave = `INSERT INTO ${tables.outcome} (token) VALUES ($1)`;
  return {
    async run(work) {
      const token = newId();
      let done: { readonly value: Awaited<ReturnType<typeof work>> } | undefined;
      try {
        return await connections.run(async (connection) => {
          try {
            // One round trip: nobody waits for these two before the work has an answer.
            const begun = connection.unsafe("BEGIN").execute();
            const left = connection.unsafe(leave, [token]).execute();
            const [value] = await Promise.all([work(connection), left, begun]);
            done = { value };
            await connection.unsafe("COMMIT");
            return value;
          } catch (error) {
            if (done === undefined) await connection.unsafe("ROLLBACK").catch(() => undefined);
            throw error;
          }
        });
      } catch (error) {
        if (done !== undefined && (await didCommit(token, parts))) return done.value;
        throw error;
      }
    },
    async once(work) {
      const step = { token: newId(), deadline: serverClock.now() + WORK_MS_MAX };
      let isSent = false;
      let isInTime: boolean;
      try {
        isInTime = await connections.run((connection) => {
          isSent = true;
          return work(connection, step);
        });
      } catch (error) {
        const isUnknown = isSent && !isRolledBack(error);
        isInTime = isUnknown && (await didCommit(step.token, parts));
        if (!isInTime) throw error;
      }
      if (isInTime) return;
      // Perhaps nothing was slow and somebody has set the database's clock.
      serverClock.measure().catch(() => undefined);
      throw storeError(new Error("it had the mail too late"));
    },
  };
}

/**
 * SQL that leaves a token and returns it, unless it is too late: a server that was frozen, and a network that was, go on with
 * what was sent long after its sender has given up.
 */
export function leaveInTime(
  { outcome }: Tables,
  { token, deadline, now }: Readonly<Record<keyof Step | "now", string>>,
): string {
  return `INSERT INTO ${outcome} (token) SELECT ${token}::text WHERE ${now} < ${deadline}::float8 RETURNING token`;
}

/** Forgets outcomes that nobody asks for any more. */
export async function forgetOutcomes(connection: ReservedSQL, { outcome }: Tables): Promise<void> {
  await connection.unsafe(`DELETE FROM ${outcome} WHERE left_at < statement_timestamp() - ${KEPT}`);
}

/**
 * Whether the work did; where it did not it never will from then on. Who asks again, because the answer was lost once more,
 * has to tell the token that it left itself from the one of the work: with its own comes a second one.
 */
async function didCommit(token: string, parts: TransactionParts): Promise<boolean> {
  const { clock } = parts;
  const giveUpAt = clock.now() + OUTCOME_MS_MAX;
  do {
    const isRefused = await refuse(token, parts).catch(() => undefined);
    if (isRefused !== undefined) return !isRefused;
    await new Promise<void>((resolve) => clock.after(ASK_EVERY_MS, resolve));
  } while (clock.now() < giveUpAt);
  return false;
}

/** Resolves with whether the token is left by who asks, now or before, and not by the work. */
async function refuse(token: string, { tables, connections }: TransactionParts): Promise<boolean> {
  const refusal = `${token} refused`;
  const leave = `WITH taken AS (INSERT INTO ${tables.outcome} (token) VALUES ($1) ON CONFLICT DO NOTHING RETURNING token)
    INSERT INTO ${tables.outcome} (token) SELECT $2::text FROM taken`;
  const find = `SELECT FROM ${tables.outcome} WHERE token = $1`;
  return await connections.run(async (connection) => {
    await connection.unsafe(leave, [token, refusal]);
    // On its own: only a statement that begins after the other sees what that has waited for.
    const found = await connection.unsafe(find, [refusal]);
    return found.length > 0;
  });
}
