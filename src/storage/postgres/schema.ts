import type { ReservedSQL } from "bun";
import { EPOCH_FIRST, EPOCH_HELD, EPOCH_LEASED } from "../message-row.ts";
import { StoreConfigError } from "../store-config-error.ts";

/** The layout that this version makes and understands. */
const FORMAT = 1;
/** What a schema may be called: then it needs no thought in SQL, and its channel's name is never cut off. */
const SCHEMA_NAME = /^[a-z_][a-z0-9_]{0,39}$/u;

/** The tables of one queue by their full names: whatever `search_path` says, nobody else's tables are meant. */
export interface Tables {
  readonly schema: string;
  /** The small mutable state of each message, and who has it leased until when. */
  readonly message: string;
  /** Envelope and small content of each message: immutable. */
  readonly record: string;
  /** Large bodies, each of which several messages may share, ... */
  readonly body: string;
  /** ... and their bytes in pieces. */
  readonly chunk: string;
  /** Changes of the counts, one row for each statement; their sum is what `getInfo` says. */
  readonly tally: string;
  /** Records that could not be read (P6). */
  readonly corrupt: string;
  /** A token of each transaction, for who has lost the answer to its commit. */
  readonly outcome: string;
  /** Numbers under names: the format, the epoch. */
  readonly meta: string;
  /** Where news of due messages is told. */
  readonly channel: string;
}

/** The names for the queue that lives in `schema`. */
export function tablesOf(schema: string): Tables {
  if (!SCHEMA_NAME.test(schema)) {
    throw new StoreConfigError(
      `schema "${schema}": at most 40 of a-z, 0-9 and _, and no digit at the beginning`,
    );
  }
  const name = (table: string): string => `"${schema}".${table}`;
  return {
    schema,
    message: name("message"),
    record: name("record"),
    body: name("body"),
    chunk: name("chunk"),
    tally: name("tally"),
    corrupt: name("corrupt"),
    outcome: name("outcome"),
    meta: name("meta"),
    channel: `slimta_queue:${schema}`,
  };
}

/** The epoch that messages wait in now, as a subquery. */
export function epochOf({ meta }: Tables): string {
  return `(SELECT value FROM ${meta} WHERE key = 'epoch')`;
}

/** What is neither leased nor held; said in these words wherever an index for it is to be used. */
export const IS_WAITING = `epoch < ${EPOCH_LEASED}`;

/**
 * Makes the tables where there are none. Nodes that start at the same time take turns; who finds them made needs no right
 * to make any.
 */
export async function migrate(connection: ReservedSQL, tables: Tables): Promise<void> {
  if (await isMade(connection, tables)) return;
  await connection.unsafe("BEGIN");
  await connection.unsafe("SELECT pg_advisory_xact_lock(hashtext($1))", [tables.channel]);
  if (!(await isMade(connection, tables))) await connection.unsafe(definition(tables)).simple();
  await connection.unsafe("COMMIT");
}

async function isMade(connection: ReservedSQL, { schema, meta }: Tables): Promise<boolean> {
  // The catalogue itself: to_regclass() may remember for a while that there was nothing.
  const [found] = await connection.unsafe(
    "SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'meta'",
    [schema],
  );
  if (found === undefined) return false;
  const [row] = await connection.unsafe(`SELECT value FROM ${meta} WHERE key = 'format'`);
  if (row?.value === FORMAT) return true;
  throw new StoreConfigError(
    `the queue in ${meta} has format ${row?.value}; this version knows ${FORMAT}`,
  );
}

/**
 * Instants and epochs are double precision because they are numbers of JavaScript. Rows come and go by the thousand, so
 * that vacuum has to come often; content that was compressed once by its sender is not worth trying again.
 */
function definition(tables: Tables): string {
  const { schema, message, record, body, chunk, tally, corrupt, outcome, meta } = tables;
  const churning = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0";
  return `
    CREATE SCHEMA IF NOT EXISTS "${schema}";
    CREATE TABLE ${meta} (key text PRIMARY KEY, value double precision NOT NULL)
      WITH (fillfactor = 50);
    CREATE TABLE ${message} (
      id text COLLATE "C" PRIMARY KEY, epoch double precision NOT NULL, due double precision NOT NULL,
      domain text COLLATE "C" NOT NULL, size double precision NOT NULL, attempts integer NOT NULL,
      received_at double precision NOT NULL, sender text COLLATE "C" NOT NULL, recipients integer NOT NULL,
      state text, holder text, lease_until double precision
    ) WITH (${churning});
    CREATE INDEX message_by_due ON ${message} (epoch, due) WHERE ${IS_WAITING};
    CREATE INDEX message_by_domain ON ${message} (domain, epoch, due) WHERE ${IS_WAITING};
    CREATE INDEX message_by_state ON ${message} (epoch, id) WHERE epoch >= ${EPOCH_LEASED};
    CREATE INDEX message_by_lease ON ${message} (lease_until) WHERE lease_until IS NOT NULL;
    CREATE TABLE ${body} (
      id text COLLATE "C" PRIMARY KEY, size double precision, touched_at timestamptz NOT NULL
    );
    CREATE TABLE ${chunk} (
      body text COLLATE "C" REFERENCES ${body} ON DELETE CASCADE, part integer, crc bigint NOT NULL,
      bytes bytea NOT NULL, PRIMARY KEY (body, part)
    );
    ALTER TABLE ${chunk} ALTER bytes SET STORAGE EXTERNAL;
    CREATE TABLE ${record} (
      id text COLLATE "C" PRIMARY KEY, crc bigint NOT NULL, envelope bytea NOT NULL, bytes bytea,
      body text COLLATE "C" REFERENCES ${body}
    ) WITH (${churning});
    ALTER TABLE ${record} ALTER bytes SET STORAGE EXTERNAL;
    CREATE INDEX record_by_body ON ${record} (body) WHERE body IS NOT NULL;
    CREATE TABLE ${corrupt} (
      id text COLLATE "C", moved_at timestamptz NOT NULL, reason text NOT NULL, facts text NOT NULL, crc bigint,
      envelope bytea, bytes bytea, body text COLLATE "C"
    );
    CREATE TABLE ${outcome} (
      token text COLLATE "C" PRIMARY KEY, left_at timestamptz NOT NULL DEFAULT statement_timestamp()
    ) WITH (${churning});
    ${counting(tables)}
    INSERT INTO ${tally} DEFAULT VALUES;
    INSERT INTO ${meta} VALUES ('epoch', ${EPOCH_FIRST}), ('format', ${FORMAT});
  `;
}

/**
 * Counts are kept by the database itself, so that they are right whoever changes what. A statement adds what it changed as a
 * row of its own: one row with the sums would make all writers wait for each other's commits.
 */
function counting({ schema, message, tally }: Tables): string {
  const sums = `coalesce(sum(n) FILTER (WHERE ${IS_WAITING} AND attempts = 0), 0),
    coalesce(sum(n) FILTER (WHERE epoch = ${EPOCH_LEASED}), 0),
    coalesce(sum(n) FILTER (WHERE ${IS_WAITING} AND attempts > 0), 0),
    coalesce(sum(n) FILTER (WHERE epoch = ${EPOCH_HELD}), 0), coalesce(sum(n * size), 0), 0`;
  const added = "SELECT 1 AS n, epoch, attempts, size FROM added";
  const gone = "SELECT -1 AS n, epoch, attempts, size FROM gone";
  const add = (changes: string): string =>
    `INSERT INTO ${tally} SELECT ${sums} FROM (${changes}) AS changes HAVING count(*) > 0;`;
  const trigger = (event: string, changes: string): string =>
    `CREATE TRIGGER count_${event} AFTER ${event} ON ${message} REFERENCING ${changes}
      FOR EACH STATEMENT EXECUTE FUNCTION "${schema}".count_messages();`;
  return `
    CREATE TABLE ${tally} (
      incoming double precision NOT NULL DEFAULT 0, active double precision NOT NULL DEFAULT 0,
      deferred double precision NOT NULL DEFAULT 0, hold double precision NOT NULL DEFAULT 0,
      bytes double precision NOT NULL DEFAULT 0, corrupt double precision NOT NULL DEFAULT 0
    ) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
    CREATE FUNCTION "${schema}".count_messages() RETURNS trigger LANGUAGE plpgsql AS $count$
      BEGIN
        IF TG_OP = 'INSERT' THEN ${add(added)}
        ELSIF TG_OP = 'DELETE' THEN ${add(gone)}
        ELSE ${add(`${added} UNION ALL ${gone}`)}
        END IF;
        RETURN NULL;
      END
    $count$;
    ${trigger("INSERT", "NEW TABLE AS added")}
    ${trigger("DELETE", "OLD TABLE AS gone")}
    ${trigger("UPDATE", "NEW TABLE AS added OLD TABLE AS gone")}
  `;
}
