import { afterAll, beforeAll, expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { type Daemon, runProduct, startDaemon } from "../support/binary.ts";
import { describeWithPeers } from "../support/peers.ts";
import { PASSWORD, type Postgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { drained, QUICK, queueOf } from "./help.ts";

describeWithPeers(["postgres"], "nodes on one PostgreSQL", () => {
  let server: Postgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const start = (spool: string, relay: string): Promise<Daemon> =>
    startDaemon({ spool, args: ["--relay", relay, ...QUICK] });
  const to = ({ port }: LedgerReceiver): string => `smtp://127.0.0.1:${port}`;

  test("what an edge-only node accepts, the others deliver, each message once; both see the queue", async () => {
    await using hop = await ledgerReceiver();
    const spool = server.url("?schema=shared&connections=3");
    await using edge = await start(spool, "none");
    await using first = await start(spool, to(hop));
    await using second = await start(spool, to(hop));
    const client = ledgerClient();
    await client.sendSome(edge.smtpPort, 8, 200);
    await drained(edge);
    expect(client.acknowledged.size).toBe(200);
    expect(hop.taken.size).toBe(200);
    expect(hop.count()).toBe(200);
    for (const node of [edge, first, second]) {
      expect(await queueOf(node)).toMatchObject({ size: 0, refusal: null });
      expect(node.output()).not.toContain(PASSWORD.slice(0, 8));
    }
    // The last one to look at the queue goes without a trace.
    expect(await second.stop()).toBe(0);
    await client.sendSome(edge.smtpPort, 2, 10);
    await drained(first);
    expect(hop.taken.size).toBe(210);
  }, 60_000);

  test("without its database a node refuses mail for now, says why, and goes on when it is back", async () => {
    await using hop = await ledgerReceiver();
    await using node = await start(server.url("?schema=lonely&connections=3"), to(hop));
    const client = ledgerClient();
    await client.sendSome(node.smtpPort, 4, 40);
    await server.crash();
    const stop = new AbortController();
    const sending = client.send(node.smtpPort, 2, stop.signal);
    await until("mail is refused", () => client.refusals.length > 0);
    expect(client.refusals.filter((line) => !/^4|^503 .* Need MAIL/u.test(line))).toEqual([]);
    expect((await node.admin("/readyz")).status).toBe(503);
    expect(await (await node.admin("/readyz")).text()).toContain("the database cannot be used");
    await server.start();
    const before = client.acknowledged.size;
    await until("mail is taken", () => client.acknowledged.size > before + 20);
    stop.abort();
    await sending;
    await drained(node);
    expect([...client.acknowledged.keys()].filter((number) => !hop.taken.has(number))).toEqual([]);
    expect((await node.admin("/readyz")).status).toBe(200);
  }, 60_000);

  test("a wrong password ends the start with 78 and one line that does not tell the right one", async () => {
    const spool = server.url("", { password: "wrong-word" });
    const { code, output } = await runProduct(["serve", "--spool", spool, ...QUICK]);
    expect(code).toBe(78);
    expect(output).toContain("password authentication failed");
    expect(output).not.toContain("wrong-word");
  });
});
