import { afterAll, beforeAll, expect, test } from "bun:test";
import { SQL } from "bun";
import { realWorld } from "../../src/lib/world.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { type Connections, openConnections } from "../../src/storage/postgres/connections.ts";
import { openPool } from "../../src/storage/postgres/pool.ts";
import { tablesOf } from "../../src/storage/postgres/schema.ts";
import {
  leaveInTime,
  openTransactions,
  type Step,
  type Transactions,
} from "../../src/storage/postgres/transaction.ts";
import { ServerClock } from "../../src/storage/server-clock.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { freshSchema, openNode } from "./postgres-fixture.ts";

/** What becomes of one piece of work: it comes to nothing, its answer is lost, or neither. */
type Fate = "not sent" | "no answer" | "fine";

describeWithPeers(["postgres"], "the outcome of a step in PostgreSQL", () => {
  let server: Postgres;
  let sql: SQL;
  beforeAll(async () => {
    server = await startPostgres();
    sql = new SQL({ url: server.url(), max: 2 });
  });
  afterAll(async () => {
    await sql.close({ timeout: 0 });
    await server[Symbol.asyncDispose]();
  });

  /** Transactions whose pieces of work meet these fates, one after the other. */
  async function opened(fates: readonly Fate[], ask = () => Promise.resolve(Date.now())) {
    const schema = freshSchema();
    await using _ = await openNode(server.url(`?schema=${schema}`));
    const tables = tablesOf(schema);
    const { clock } = realWorld;
    const serverClock = new ServerClock(clock, ask);
    await serverClock.measure();
    const check = (): Promise<void> => Promise.resolve();
    const connections = faulty(openConnections({ pool: openPool(sql), clock, check }), fates);
    let made = 0;
    const newId = (): string => {
      made += 1;
      return `token ${made}`;
    };
    const transactions = openTransactions({ tables, connections, clock, serverClock, newId });
    const inTime = leaveInTime(tables, {
      ...{ token: "$1", deadline: "$2" },
      now: "extract(epoch FROM statement_timestamp()) * 1000",
    });
    const step = (): ReturnType<Transactions["once"]> =>
      transactions.once(async (connection, { token, deadline }: Step) => {
        const rows = await connection.unsafe(inTime, [token, deadline]);
        return rows.length > 0;
      });
    return {
      step,
      left: async () => {
        const rows = await server.query(`SELECT token FROM ${tables.outcome} ORDER BY token`);
        return rows.map(({ token }) => token);
      },
    };
  }
  test("one that was done is not refused, however often the answer is lost", async () => {
    const { step, left } = await opened(["no answer", "no answer", "no answer"]);
    await step();
    expect(await left()).toEqual(["token 1"]);
  });

  test("one that was not done is refused, however often the answer to that is lost", async () => {
    const { step, left } = await opened(["not sent", "no answer", "no answer"]);
    await expect(step()).rejects.toThrow("lost");
    // So that what was sent and comes late finds its token taken.
    expect(await left()).toEqual(["token 1", "token 1 refused"]);
  });

  test("one that came too late is refused, and the next one is by the clock as it is set now", async () => {
    let isSet = false;
    const { step } = await opened([], () => Promise.resolve(Date.now() - (isSet ? 0 : 60_000)));
    isSet = true;
    await expect(step()).rejects.toMatchObject({
      reply: { code: 451 },
      message: expect.stringContaining("too late"),
    });
    await until("the next one is in time", () =>
      step().then(
        () => true,
        () => false,
      ),
    );
  });
});

function faulty(connections: Connections, fates: readonly Fate[]): Connections {
  const left = [...fates];
  return {
    ...connections,
    run: (work) =>
      connections.run(async (connection) => {
        const fate = left.shift() ?? "fine";
        // What is never done is begun all the same, on a connection that nobody reads from.
        const value = await work(fate === "not sent" ? deaf(connection) : connection);
        if (fate === "no answer") throw new QueueError("the answer is lost");
        return value;
      }),
  };
}

function deaf<T extends object>(connection: T): T {
  return { ...connection, unsafe: () => Promise.reject(new QueueError("it is lost on its way")) };
}
