import type { ReservedSQL } from "bun";
import { EPOCH_HELD, EPOCH_LEASED, summaryOf } from "../message-row.ts";
import type { ListQuery, MessageState, MessageSummary, StorageInfo } from "../storage.ts";
import { COLUMNS, type Row } from "./rows.ts";
import type { Tables } from "./schema.ts";

/**
 * Most messages wait, and the sum keeps the planner on the order of ids; leased and held ones are usually few, and an index
 * finds them without reading past all the rest.
 */
const STATE_CONDITIONS: Readonly<Record<MessageState, string>> = {
  incoming: `epoch + 0 < ${EPOCH_LEASED} AND attempts = 0`,
  deferred: `epoch + 0 < ${EPOCH_LEASED} AND attempts > 0`,
  active: `epoch = ${EPOCH_LEASED}`,
  hold: `epoch = ${EPOCH_HELD}`,
};

/** One page in the order of ids. */
export async function listPage(
  connection: ReservedSQL,
  { message }: Tables,
  { after = "", limit, state, domain, sender }: ListQuery,
): Promise<readonly MessageSummary[]> {
  const values: unknown[] = [after, limit];
  const conditions = ["id > $1"];
  if (state !== undefined) conditions.push(STATE_CONDITIONS[state]);
  // The concatenation keeps the planner on the order of ids too: a page needs no sorting of a whole domain.
  if (domain !== undefined) {
    conditions.push(`domain || '' = $${values.push(domain.toLowerCase())}`);
  }
  if (sender !== undefined) conditions.push(`lower(sender) = lower($${values.push(sender)})`);
  const rows: readonly Row[] = await connection.unsafe(
    `SELECT ${COLUMNS} FROM ${message} WHERE ${conditions.join(" AND ")} ORDER BY id LIMIT $2`,
    values,
  );
  return rows.map(summaryOf);
}

/** The counts: sums of few rows, since housekeeping puts them together again and again. */
export async function infoOf(
  connection: ReservedSQL,
  { tally, message }: Tables,
): Promise<StorageInfo> {
  const [row] = await connection.unsafe(
    `SELECT sum(incoming) AS incoming, sum(active) AS active, sum(deferred) AS deferred, sum(hold) AS hold,
       sum(bytes) AS bytes, sum(corrupt) AS corrupt,
       (SELECT received_at FROM ${message} ORDER BY id LIMIT 1) AS "oldestAt"
     FROM ${tally}`,
  );
  const { incoming, active, deferred, hold, bytes, corrupt, oldestAt } = row;
  return {
    size: incoming + active + deferred + hold,
    states: { incoming, active, deferred, hold },
    bytes,
    oldestAt,
    corrupt,
  };
}

/** Starts an epoch: whoever waits in an older one is due. Returns how many messages waited. */
export async function startEpoch(
  connection: ReservedSQL,
  { meta, tally }: Tables,
): Promise<number> {
  const [row] = await connection.unsafe(
    `WITH next AS (UPDATE ${meta} SET value = value + 1 WHERE key = 'epoch')
     SELECT sum(incoming) + sum(deferred) AS waiting FROM ${tally}`,
  );
  return row.waiting;
}

/** Puts what the counts have changed by into one row. Nodes do not get in each other's way. */
export async function foldTally(connection: ReservedSQL, { tally }: Tables): Promise<void> {
  await connection.unsafe(
    `WITH gone AS (
       DELETE FROM ${tally} WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM ${tally} LIMIT ${FOLD_ROWS_MAX} FOR UPDATE SKIP LOCKED)) RETURNING *
     ) INSERT INTO ${tally}
       SELECT sum(incoming), sum(active), sum(deferred), sum(hold), sum(bytes), sum(corrupt) FROM gone
       HAVING count(*) > 0`,
  );
}

const FOLD_ROWS_MAX = 100_000;
