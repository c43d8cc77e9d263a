import { EPOCH_LEASED } from "../message-row.ts";
import { COLUMNS } from "./rows.ts";
import { epochOf, IS_WAITING, type Tables } from "./schema.ts";
import type { StoreTime } from "./store-time.ts";

/** Leases that one look ends because they are over. */
const EXPIRED_MAX = 500;

/** The statements of the schedule. In those that look for mail, `$1` is the instant at which it has to be due. */
export function scheduleStatements(tables: Tables, time: StoreTime) {
  const { message } = tables;
  const epoch = epochOf(tables);
  const isFlushed = `${IS_WAITING} AND epoch < ${epoch}`;
  const isTimely = `${IS_WAITING} AND epoch = ${epoch} AND due <= $1`;
  const unleased = `holder = NULL, lease_until = NULL,
    epoch = CASE WHEN epoch = ${EPOCH_LEASED} THEN ${epoch} ELSE epoch END`;
  const held = (now: string): string =>
    `SELECT id FROM ${message} WHERE id = ANY($1) AND holder = $2 AND lease_until > ${time.sql(now)}
     ORDER BY id FOR UPDATE`;
  return {
    front: `
      (SELECT id, domain, true AS flushed FROM ${message} WHERE ${isFlushed} ORDER BY epoch, due LIMIT $3)
      UNION ALL
      (SELECT id, domain, false FROM ${message} WHERE ${isTimely} ORDER BY epoch, due LIMIT $2)`,
    // From one domain to the next by the index: what lies between costs nothing.
    domains: `
      WITH RECURSIVE round AS (
        (SELECT domain, 1 AS place FROM ${message} WHERE ${IS_WAITING} AND domain > $1 ORDER BY domain LIMIT 1)
        UNION ALL
        SELECT after.domain, place + 1 FROM round, LATERAL (
          SELECT domain FROM ${message} WHERE ${IS_WAITING} AND domain > round.domain ORDER BY domain LIMIT 1
        ) AS after WHERE place < $2::int
      ) SELECT domain FROM round ORDER BY place`,
    // Rows are compared as wholes so that there is only one index to go by: with a simple `domain = name` a domain that
    // most of the mail is for makes the planner look for the others' rows all over the schedule.
    ofDomains: `
      SELECT due.* FROM unnest($2::text[]) WITH ORDINALITY AS wanted (name, place), LATERAL (
        (SELECT id, domain FROM ${message}
         WHERE ${IS_WAITING} AND (domain, epoch) >= (name, 0) AND (domain, epoch) < (name, ${epoch})
           AND NOT $4::boolean ORDER BY domain, epoch, due LIMIT $3)
        UNION ALL
        (SELECT id, domain FROM ${message}
         WHERE ${IS_WAITING} AND (domain, epoch, due) >= (name, ${epoch}, '-Infinity'::float8)
           AND (domain, epoch, due) <= (name, ${epoch}, $1::float8) ORDER BY domain, epoch, due LIMIT $3)
        LIMIT $3
      ) AS due ORDER BY place`,
    // What a flush made due is due for good: its old time must not come back when the lease ends.
    take: `
      UPDATE ${message} SET epoch = ${EPOCH_LEASED}, due = least(due, $2), holder = $3,
        lease_until = ${time.sql("$5")} + $4::float8
      WHERE id IN (
        SELECT id FROM ${message} WHERE id = ANY($1) AND ${IS_WAITING} AND (due <= $2 OR epoch < ${epoch})
        FOR UPDATE SKIP LOCKED
      ) RETURNING ${COLUMNS}`,
    expire: `
      UPDATE ${message} SET ${unleased} WHERE id IN (
        SELECT id FROM ${message} WHERE lease_until <= ${time.sql("$1")}
        ORDER BY lease_until LIMIT ${EXPIRED_MAX} FOR UPDATE SKIP LOCKED)`,
    renew: `
      UPDATE ${message} SET lease_until = ${time.sql("$4")} + $3::float8 WHERE id IN (${held("$4")})`,
    release: `UPDATE ${message} SET ${unleased} WHERE id IN (${held("$3")}) RETURNING ${COLUMNS}`,
    // Whoever waits in an older epoch was flushed and is due at once.
    nextDue: `
      SELECT CASE
        WHEN EXISTS (SELECT FROM ${message} WHERE ${isFlushed}) THEN 0
        ELSE (SELECT due FROM ${message} WHERE ${IS_WAITING} AND epoch = ${epoch} ORDER BY epoch, due LIMIT 1)
      END AS due`,
  };
}
