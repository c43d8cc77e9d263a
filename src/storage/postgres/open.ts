import { type ReservedSQL, SQL } from "bun";
import { idMaker } from "../../lib/id.ts";
import type { World } from "../../lib/world.ts";
import type { Emit } from "../../observe/events.ts";
import { ServerClock } from "../server-clock.ts";
import { Bodies } from "./bodies.ts";
import { openChanges } from "./changes.ts";
import { type Connections, openConnections } from "./connections.ts";
import { startError } from "./errors.ts";
import { startHousekeeping, tidy } from "./housekeeping.ts";
import { openInserter, type StoredBodies } from "./insert.ts";
import { openNews } from "./news.ts";
import { type Place, type PostgresStorageOptions, placeOf } from "./options.ts";
import { openPool, type Pool } from "./pool.ts";
import { PostgresStorage } from "./postgres-storage.ts";
import { openReader } from "./reader.ts";
import { Schedule } from "./schedule.ts";
import { migrate, type Tables, tablesOf } from "./schema.ts";
import { requireDurable } from "./server-settings.ts";
import { storeTime } from "./store-time.ts";
import { openTransactions } from "./transaction.ts";
import { openWrites } from "./writes.ts";

export interface PostgresStorageParts {
  readonly world: World;
  readonly emit: Emit;
  /** Leases go by the world's clock and not by the database's: for tests in a time of their own. */
  readonly isTimeSimulated?: boolean;
}

/** On each connection: what keeps a node that hangs from holding up the others, and the planner from guessing wrong. */
const SESSION = {
  application_name: "slimta-queue",
  statement_timeout: "10s",
  lock_timeout: "10s",
  idle_in_transaction_session_timeout: "15s",
  // Tables that are empty now and full in a minute have no statistics: every statement here goes by an index.
  enable_seqscan: "off",
  enable_bitmapscan: "off",
  jit: "off",
};

/**
 * Opens the queue in a PostgreSQL database and makes its tables where there are none. Rejects, with one line that names no
 * password, when the server cannot be reached or used, or when its settings would make a `250` a promise that a power
 * cut breaks.
 */
export async function openPostgresStorage(
  options: PostgresStorageOptions,
  parts: PostgresStorageParts,
): Promise<PostgresStorage> {
  const place = placeOf(options);
  const tables = tablesOf(place.schema);
  const onclose = (): void => pool.letGo();
  const sql = new SQL({ ...place.client, max: place.connections, connection: SESSION, onclose });
  const pool = openPool(sql);
  const check = (): Promise<void> => probe(connections, tables);
  const connections = openConnections({ pool, clock: parts.world.clock, check });
  try {
    return await openOver({ sql, pool, check, connections }, place, tables, parts);
  } catch (error) {
    connections.stop();
    await sql.close({ timeout: 0 }).catch(() => undefined);
    throw startError(place.name, error);
  }
}

interface Client {
  readonly sql: SQL;
  readonly pool: Pool;
  readonly connections: Connections;
  readonly check: () => Promise<void>;
}

async function openOver(
  { sql, pool, connections, check }: Client,
  place: Place,
  tables: Tables,
  parts: PostgresStorageParts,
) {
  const { world, emit } = parts;
  const { clock } = world;
  const newId = idMaker(clock.now, world.random);
  await connections.run(async (connection) => {
    await requireDurable(connection, place.isWarningEnough, emit);
    await migrate(connection, tables);
  });
  await openAll(pool, place.connections);

  const serverClock = new ServerClock(clock, () => {
    if (parts.isTimeSimulated) return Promise.resolve(clock.now());
    return connections.run(timeOf);
  });
  await serverClock.measure();
  const time = storeTime(clock, parts.isTimeSimulated ?? false);
  const transactions = openTransactions({ tables, connections, clock, serverClock, newId });
  const stored: StoredBodies = new WeakMap();
  const bodies = new Bodies({ tables, connections, stored, newId });
  const inserter = openInserter(tables, time, stored);
  const client = { ...place.client, connection: SESSION };
  const news = await openNews(client, tables, { clock, connections, node: newId() });
  const onBodies = (ids: readonly string[]): void => void bodies.drop(ids).catch(() => undefined);
  const common = { tables, connections, transactions, bodies, stored, inserter, news, time };
  return new PostgresStorage({
    ...common,
    sql,
    serverClock,
    newId,
    check,
    writes: openWrites(common),
    changes: openChanges({ ...common, onBodies }),
    reader: openReader({ ...common, clock, emit }),
    schedule: new Schedule(common),
    housekeeping: startHousekeeping({
      clock,
      tidy: () => connections.run((connection) => tidy(connection, tables)),
      sweep: () => bodies.sweep(),
    }),
  });
}

/** All connections from the start: a server that has no more of them says so now, and not to a client with mail. */
async function openAll(pool: Pool, count: number): Promise<void> {
  pool.letGo();
  const { signal } = new AbortController();
  const all = await Promise.all(Array.from({ length: count }, () => pool.take(signal)));
  for (const connection of all) pool.giveBack(connection, true);
}

/** What the database's clock says. */
async function timeOf(connection: ReservedSQL): Promise<number> {
  const [row] = await connection.unsafe(
    "SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now",
  );
  return row.now;
}

/** A small durable write. */
async function probe(connections: Connections, { meta }: Tables): Promise<void> {
  await connections.run((connection) =>
    connection.unsafe(
      `INSERT INTO ${meta} VALUES ('probed', extract(epoch FROM statement_timestamp()))
       ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
    ),
  );
}
