import { Database } from "bun:sqlite";
import { EPOCH_HELD } from "../message-row.ts";
import { DamagedError } from "../store-error.ts";
import type { Check } from "./fsck-check.ts";
import { quarantineDamage } from "./fsck-quarantine.ts";
import { SegmentReader } from "./reader.ts";
import type { Row } from "./row.ts";
import type { Meta, StateDb } from "./state-db.ts";

const PAGE = 500;

/** Compares every row with the record that it names; returns how many messages that were. */
export async function checkRows(check: Check, db: StateDb): Promise<number> {
  const reader = new SegmentReader(check.files, check.layout);
  let count = 0;
  let after = "";
  try {
    for (;;) {
      const page = db.page({ after, limit: PAGE }, PAGE);
      for (const row of page) await checkRow(row, reader, check, db);
      count += page.length;
      const last = page.at(-1);
      if (last === undefined) return count;
      after = last.id;
    }
  } finally {
    reader.close();
  }
}

async function checkRow(row: Row, reader: SegmentReader, check: Check, db: StateDb): Promise<void> {
  const problem = await problemOf(row, reader);
  if (problem === undefined) return;
  check.damage(`message ${row.id}: ${problem}`);
  if (check.repair) await quarantineDamage(row, problem, check, db);
}

async function problemOf(row: Row, reader: SegmentReader): Promise<string | undefined> {
  try {
    const { envelope, prefix, bodyLength } = await reader.readRecord(row);
    if (envelope.recipients.length !== row.recipientCount)
      return "its recipients are not as stored";
    return prefix.length + bodyLength === row.size ? undefined : "its size is not as stored";
  } catch (error) {
    if (error instanceof DamagedError) return error.message;
    throw error;
  }
}

interface Count {
  readonly what: string;
  readonly is: number;
  readonly says: number;
}

/** Compares what queue.db says of itself, totals and segments, with its rows. */
export function checkTotals({ damage, repair }: Check, database: string): void {
  const db = new Database(database, { readwrite: true, create: false });
  try {
    const wrong = [...metaCounts(db), ...segmentCounts(db)].filter(({ is, says }) => is !== says);
    for (const { what, is, says } of wrong) damage(`queue.db: ${what} is ${is}, not ${says}`);
    if (repair && wrong.length > 0) recount(db);
  } finally {
    db.close();
  }
}

const TOTALS = `SELECT
  coalesce(sum(epoch != ${EPOCH_HELD} AND attempts = 0), 0) AS incoming,
  coalesce(sum(epoch != ${EPOCH_HELD} AND attempts > 0), 0) AS deferred,
  coalesce(sum(epoch = ${EPOCH_HELD}), 0) AS hold,
  coalesce(sum(size), 0) AS bytes FROM message`;

const LIVING = "SELECT segment, count(*) AS live, sum(size) AS bytes FROM message GROUP BY segment";

function metaCounts(db: Database): readonly Count[] {
  const totals = db.query(TOTALS).get() as Record<Meta, number>;
  const said = db.query("SELECT value FROM meta WHERE key = ?");
  return (["incoming", "deferred", "hold", "bytes"] as const).map((key) => {
    const says = (said.get(key) as { value: number } | null)?.value ?? 0;
    return { what: `the count of ${key}`, is: totals[key], says };
  });
}

/** Row by row: there may be many segments. */
function* segmentCounts(db: Database): Generator<Count> {
  const rows = db.query(
    `SELECT coalesce(segment.number, living.segment) AS number, coalesce(living.live, 0) AS live,
      coalesce(living.bytes, 0) AS bytes, coalesce(segment.live, 0) AS saidLive,
      coalesce(segment.live_bytes, 0) AS saidBytes
    FROM segment FULL JOIN (${LIVING}) AS living ON living.segment = segment.number
    WHERE segment.live IS NOT living.live OR segment.live_bytes IS NOT living.bytes`,
  );
  type Found = Record<"number" | "live" | "bytes" | "saidLive" | "saidBytes", number>;
  for (const row of rows.iterate() as Iterable<Found>) {
    const what = `segment ${row.number}`;
    yield { what: `the count of messages in ${what}`, is: row.live, says: row.saidLive };
    yield { what: `the count of octets in ${what}`, is: row.bytes, says: row.saidBytes };
  }
}

function recount(db: Database): void {
  const totals = db.query(TOTALS).get() as Record<Meta, number>;
  db.transaction(() => {
    const set = db.query("INSERT OR REPLACE INTO meta VALUES (?, ?)");
    for (const key of ["incoming", "deferred", "hold", "bytes"] as const) set.run(key, totals[key]);
    db.run("DELETE FROM segment WHERE number NOT IN (SELECT segment FROM message)");
    db.run(`INSERT INTO segment SELECT segment, live, bytes, bytes FROM (${LIVING}) AS living
      WHERE segment NOT IN (SELECT number FROM segment)`);
    db.run(`UPDATE segment SET live = living.live, live_bytes = living.bytes FROM (${LIVING}) AS living
      WHERE living.segment = segment.number`);
  })();
}
