import type { ReservedSQL } from "bun";
import type { Batch } from "../batch.ts";
import { openBatch } from "../batch.ts";
import { EPOCH_LEASED, type MessageRow } from "../message-row.ts";
import { LostLeaseError, NotFoundError } from "../storage.ts";
import { isAboutData } from "./errors.ts";
import type { Inserter, NewMessage } from "./insert.ts";
import type { News, NewsItem } from "./news.ts";
import { COLUMNS, type Row } from "./rows.ts";
import { epochOf, type Tables } from "./schema.ts";
import type { StoreTime } from "./store-time.ts";
import type { Transactions } from "./transaction.ts";

/** One change of one message. */
export interface Change {
  readonly id: string;
  /** Refuse unless this holder has the lease; the lease ends with the change. */
  readonly holder?: string;
  /** The row after the change, `null` for none; the same object when nothing changes. */
  readonly next: (row: MessageRow, waitingEpoch: number) => MessageRow | null;
  /** Stored in the same step. */
  readonly bounces?: readonly NewMessage[];
  /** Nobody here knows that it may be due now: others are told. */
  readonly isNews?: boolean;
}

/** What became of a change: the row before it. */
export type Changed = MessageRow;

export interface ChangesParts {
  readonly tables: Tables;
  readonly time: StoreTime;
  readonly transactions: Transactions;
  readonly inserter: Inserter;
  readonly news: Pick<News, "tell">;
  /** Large bodies that a message had which is gone. */
  readonly onBodies: (ids: readonly string[]) => void;
}

const LANES = 2;
const ITEMS_MAX = 256;
const BYTES_MAX = 8 * 1024 * 1024;

/**
 * Changes of messages, several in one transaction: rows are locked and read, changed by the same pure functions as in
 * every engine, and written back.
 */
export function openChanges(parts: ChangesParts): Batch<Change, Changed> {
  return openBatch<Change, Changed>({
    lanes: LANES,
    itemsMax: ITEMS_MAX,
    weightMax: BYTES_MAX,
    weigh: ({ bounces = [] }) => bounces.reduce((sum, { envelope }) => sum + weightOf(envelope), 0),
    run: (items) => applyChanges(items, parts),
    isOneToBlame: isAboutData,
  });
}

/** Octets of an envelope that a statement has to carry. */
export function weightOf({ content }: NewMessage["envelope"]): number {
  return content.prefix.length + (content.body.kind === "bytes" ? content.body.bytes.length : 0);
}

interface Locked extends Row {
  /** Somebody has it leased, in time or not. */
  readonly holder: string | null;
  /** The lease is not over. */
  readonly held: boolean;
  /** The epoch that messages wait in now. */
  readonly now: number;
}

async function applyChanges(
  items: readonly Change[],
  parts: ChangesParts,
): Promise<readonly (Changed | Error)[]> {
  const bodies: string[] = [];
  const news: NewsItem[] = [];
  const results = await parts.transactions.run(async (connection) => {
    const ids = [...new Set(items.map(({ id }) => id))];
    const rows = await lock(connection, ids, parts);
    const before = new Map(rows.map((row) => [row.id, row]));
    const after = new Map<string, Locked | null>(before);
    const applied = items.map((item) => apply(item, after));
    const made = items.filter((_, index) => !(applied[index] instanceof Error));
    const gone = ids.filter((id) => before.has(id) && after.get(id) === null);
    const changed = [...after.values()].filter(
      (row) => row !== null && row !== before.get(row.id),
    ) as Locked[];
    const [ended] = await Promise.all([
      remove(connection, gone, parts.tables),
      replace(connection, changed, parts.tables),
      parts.inserter.insert(connection, sorted(made.flatMap(({ bounces = [] }) => bounces))),
    ]);
    bodies.push(...ended);
    news.push(...newsOf(made, after));
    return applied;
  });
  parts.news.tell(news);
  if (bodies.length > 0) parts.onBodies(bodies);
  return results;
}

/** Applies one change to the rows as the changes before it have left them. */
function apply(change: Change, rows: Map<string, Locked | null>): Changed | Error {
  const { id, holder } = change;
  const row = rows.get(id);
  if (row === undefined || row === null) return new NotFoundError(`no message ${id}`);
  const endsLease = holder !== undefined;
  if (endsLease && !(row.holder === holder && row.held)) {
    return new LostLeaseError(`message ${id} is not leased to ${holder}`);
  }
  const kept = endsLease ? null : row.holder;
  // Whoever is leased stays invisible, whatever else is changed.
  const next = change.next(row, kept === null ? row.now : EPOCH_LEASED);
  if (next === null) rows.set(id, null);
  else if (next !== row || endsLease) rows.set(id, { ...row, ...next, holder: kept });
  return row;
}

async function lock(
  connection: ReservedSQL,
  ids: readonly string[],
  { tables, time }: ChangesParts,
): Promise<readonly Locked[]> {
  return await connection.unsafe(
    `SELECT ${COLUMNS}, holder, coalesce(lease_until > ${time.sql("$2")}, false) AS held, ${epochOf(tables)} AS now
     FROM ${tables.message} WHERE id = ANY($1) ORDER BY id FOR UPDATE`,
    [connection.array([...ids], "TEXT"), time.now()],
  );
}

/** Resolves with the large bodies that they had. */
async function remove(
  connection: ReservedSQL,
  ids: readonly string[],
  { message, record }: Tables,
): Promise<readonly string[]> {
  if (ids.length === 0) return [];
  const rows = await connection.unsafe(
    `WITH gone AS (DELETE FROM ${message} WHERE id = ANY($1))
     DELETE FROM ${record} WHERE id = ANY($1) RETURNING body`,
    [connection.array([...ids], "TEXT")],
  );
  return rows.flatMap(({ body }: { body: string | null }) => body ?? []);
}

async function replace(
  connection: ReservedSQL,
  rows: readonly Locked[],
  { message }: Tables,
): Promise<void> {
  if (rows.length === 0) return;
  await connection.unsafe(
    `UPDATE ${message} AS row SET epoch = next.epoch, due = next.due, domain = next.domain, attempts = next.attempts,
       state = next.state, holder = next.holder,
       lease_until = CASE WHEN next.holder IS NULL THEN NULL ELSE row.lease_until END
     FROM json_to_recordset($1::text::json) AS next (
       id text, epoch float8, due float8, domain text, attempts int, state text, holder text)
     WHERE row.id = next.id`,
    [JSON.stringify(rows)],
  );
}

function newsOf(
  made: readonly Change[],
  after: ReadonlyMap<string, MessageRow | null>,
): readonly NewsItem[] {
  return made.flatMap(({ id, isNews }) => {
    const row = after.get(id);
    return isNews && row && row.epoch < EPOCH_LEASED ? [{ id, timestamp: row.due }] : [];
  });
}

/** Each id once, in the order in which everybody locks them. */
export function sorted(messages: readonly NewMessage[]): readonly NewMessage[] {
  const first = new Map<string, NewMessage>();
  for (const message of messages) if (!first.has(message.id)) first.set(message.id, message);
  return [...first.values()].sort((left, right) => (left.id < right.id ? -1 : 1));
}
