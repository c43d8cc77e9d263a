import type { ReservedSQL } from "bun";
import type { Clock } from "../../lib/world.ts";
import type { Connections } from "./connections.ts";
import type { Tables } from "./schema.ts";

/** How long the outcome of a commit is asked for when its answer was lost. */
export const OUTCOME_MS_MAX = 15_000;
const ASK_EVERY_MS = 200;
/** How long outcomes are kept for who asks: long after everybody has stopped to. */
const KEPT = "interval '2 minutes'";

/** Does work as one durable step: all of it or, when this rejects, nothing, one case aside; see `openTransactions`. */
export type Transaction = <T>(work: (connection: ReservedSQL) => Promise<T>) => Promise<T>;

export interface TransactionParts {
  readonly tables: Tables;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly newId: () => string;
}

/**
 * Transactions whose outcome is known even when the connection is lost while they commit. Each leaves a token, and who lost
 * the answer tries to leave the same: that waits for a commit that is still under way, and succeeds only when there was
 * none and will be none. (The server's own account of transactions does not do: after a crash it gives the number of one
 * that was lost to another.) Only when the server does not come back within `OUTCOME_MS_MAX` the work counts as failed
 * although it may have been done.
 */
export function openTransactions(parts: TransactionParts): Transaction {
  const { tables, connections, newId } = parts;
  const leave = `INSERT INTO ${tables.outcome} (token) VALUES ($1)`;
  return async (work) => {
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
  };
}

/** Forgets outcomes that nobody asks for any more. */
export async function forgetOutcomes(connection: ReservedSQL, { outcome }: Tables): Promise<void> {
  await connection.unsafe(`DELETE FROM ${outcome} WHERE left_at < statement_timestamp() - ${KEPT}`);
}

async function didCommit(token: string, parts: TransactionParts): Promise<boolean> {
  const { tables, connections, clock } = parts;
  const take = `INSERT INTO ${tables.outcome} (token) VALUES ($1) ON CONFLICT DO NOTHING RETURNING token`;
  const giveUpAt = clock.now() + OUTCOME_MS_MAX;
  do {
    const taken = await connections
      .run((connection) => connection.unsafe(take, [token]))
      .catch(() => undefined);
    if (taken !== undefined) return taken.length === 0;
    await new Promise<void>((resolve) => clock.after(ASK_EVERY_MS, resolve));
  } while (clock.now() < giveUpAt);
  return false;
}
