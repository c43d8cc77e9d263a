import { afterAll, beforeAll, expect, test } from "bun:test";
import { type ReservedSQL, SQL } from "bun";
import { openPool, type Pool } from "../../src/storage/postgres/pool.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";

describeWithPeers(["postgres"], "connections to a PostgreSQL", () => {
  let server: Postgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const { signal } = new AbortController();
  const take = async (pool: Pool): Promise<readonly [ReservedSQL, number]> => {
    const connection = await pool.take(signal);
    const [row] = await connection.unsafe("SELECT pg_backend_pid() AS pid");
    return [connection, row.pid];
  };

  test("the one that was given back last is the next", async () => {
    await using sql = new SQL({ url: server.url(), max: 3 });
    const pool = openPool(sql);
    const [first] = await take(pool);
    const [second, pid] = await take(pool);
    pool.giveBack(first, true);
    pool.giveBack(second, true);
    expect((await take(pool))[1]).toBe(pid);
    pool.letGo();
    await second.release();
  });

  test("who waits for one gets the next that is given back", async () => {
    await using sql = new SQL({ url: server.url(), max: 1 });
    const pool = openPool(sql);
    const [only, pid] = await take(pool);
    const waiting = take(pool);
    pool.giveBack(only, true);
    const [same, next] = await waiting;
    expect(next).toBe(pid);
    pool.giveBack(same, true);
    pool.letGo();
  });

  test("one that comes back when the pool is closed is the client's again", async () => {
    await using sql = new SQL({ url: server.url(), max: 1 });
    const pool = openPool(sql);
    const [late] = await take(pool);
    pool.close();
    pool.giveBack(late, true);
    const next = await sql.reserve({ signal: AbortSignal.timeout(5000) });
    await next.release();
  });

  test("what is open on one that is not sound is rolled back, and one that was lost is not kept", async () => {
    let losses = 0;
    const onclose = (): void => {
      losses += 1;
      pool.letGo();
    };
    const sql = new SQL({ url: server.url(), max: 1, onclose });
    const pool = openPool(sql);
    const [begun] = await take(pool);
    await begun.unsafe("CREATE TABLE made (id int)");
    await begun.unsafe("BEGIN");
    await begun.unsafe("INSERT INTO made VALUES (1)");
    pool.giveBack(begun, false);
    const [next, pid] = await take(pool);
    expect([...(await next.unsafe("SELECT * FROM made"))]).toEqual([]);
    pool.giveBack(next, true);
    const before = losses;
    await server.query(`SELECT pg_terminate_backend(${pid})`);
    await until("the loss is noticed", () => losses > before);
    const [other, otherPid] = await take(pool);
    expect(otherPid).not.toBe(pid);
    pool.giveBack(other, true);
    pool.letGo();
    await sql.close();
  });
});
