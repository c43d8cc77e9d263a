import { afterAll, beforeAll, expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { type Daemon, runProduct, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { drained, QUICK, queueOf, stored } from "./help.ts";

const LEASE = ["--set", "queue.lease=5s"];

describeWithPeers(["redis-server"], "nodes on one Redis", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const to = ({ port }: LedgerReceiver): readonly string[] => [
    "--relay",
    `smtp://127.0.0.1:${port}`,
  ];
  const edgeOnly = (spool: string): Promise<Daemon> =>
    startDaemon({ spool, args: ["--relay", "none", ...QUICK] });
  const relayOnly = (spool: string, hop: LedgerReceiver): Promise<Daemon> =>
    startDaemon({ spool, relayOnly: true, args: [...to(hop), ...LEASE, ...QUICK] });

  test("what an edge-only node accepts, relay-only nodes deliver, each message once", async () => {
    await using hop = await ledgerReceiver();
    const spool = server.url("?prefix=shared");
    await using edge = await edgeOnly(spool);
    await using first = await relayOnly(spool, hop);
    await using second = await relayOnly(spool, hop);
    expect(first.output()).toContain("smtp none");
    const client = ledgerClient();
    await client.sendSome(edge.smtpPort, 8, 200);
    await drained(edge);
    expect(client.acknowledged.size).toBe(200);
    expect(hop.taken.size).toBe(200);
    expect(hop.count()).toBe(200);
    for (const node of [edge, first, second]) {
      expect(await queueOf(node)).toMatchObject({ size: 0, refusal: null });
    }
    expect(await first.stop()).toBe(0);
    await client.sendSome(edge.smtpPort, 2, 10);
    await drained(second);
    expect(hop.taken.size).toBe(210);
  }, 60_000);

  test("a node killed in the middle of deliveries: who has the mail is shown, and another takes it over", async () => {
    await using hop = await ledgerReceiver();
    const spool = server.url("?prefix=heirs");
    await using edge = await edgeOnly(spool);
    await using dying = await relayOnly(spool, hop);
    hop.pause();
    const client = ledgerClient();
    await client.sendSome(edge.smtpPort, 2, 6);
    await until("they are leased", async () => (await queueOf(edge)).states.active === 6);
    await using heir = await relayOnly(spool, hop);
    const { messages } = (await edge.adminJson("/v1/messages")) as { messages: { id: string }[] };
    const holderOf = async (id = "") => {
      const admin = ["--admin", `127.0.0.1:${edge.adminPort}`];
      const { output } = await runProduct(["queue", "show", id, ...admin]);
      return /^held by +(\S+) until /mu.exec(output)?.[1];
    };
    const before = await holderOf(messages[0]?.id);
    expect(before).toMatch(/^.+\/[0-9A-Z]{16}$/u);
    dying.kill("SIGKILL");
    await dying.exited;
    await until("the heir has them", async () => {
      const holder = await holderOf(messages[0]?.id);
      return holder !== undefined && holder !== before;
    });
    hop.resume();
    await drained(heir);
    expect(client.acknowledged.size).toBe(6);
    expect(hop.taken.size).toBe(6);
    expect(hop.count()).toBe(6);
  }, 60_000);

  test("without its Redis a node refuses mail for now, says why, and goes on when it is back", async () => {
    await using hop = await ledgerReceiver();
    const args = [...to(hop), ...QUICK];
    await using node = await startDaemon({ spool: server.url("?prefix=lonely"), args });
    const client = ledgerClient();
    await client.sendSome(node.smtpPort, 4, 40);
    await server.crash();
    const stop = new AbortController();
    const sending = client.send(node.smtpPort, 2, stop.signal);
    await until("mail is refused", () => client.refusals.length > 0);
    expect(client.refusals.filter((line) => !/^4|^503 .* Need MAIL/u.test(line))).toEqual([]);
    const sick = await node.admin("/readyz");
    expect(sick.status).toBe(503);
    expect(await sick.text()).toContain("the Redis server cannot be reached");
    await server.restart();
    const before = client.acknowledged.size;
    await until("mail is taken", () => client.acknowledged.size > before + 20);
    stop.abort();
    await sending;
    await drained(node);
    expect([...client.acknowledged.keys()].filter((number) => !hop.taken.has(number))).toEqual([]);
    expect((await node.admin("/readyz")).status).toBe(200);
    await stored(node, 0);
  }, 60_000);

  test("a start that cannot go well ends with a code and a line that tells no secret", async () => {
    await using weak = await startRedis({
      args: ["--requirepass", "hush-word", "--appendfsync", "everysec"],
    });
    const serve = async (url: string) => {
      const { code, output } = await runProduct(["serve", "--spool", url, ...QUICK]);
      expect(output).not.toContain("-word");
      return { code, output };
    };
    const at = `127.0.0.1:${weak.port}`;
    const wrong = await serve(`redis://:wrong-word@${at}`);
    expect(wrong.code).toBe(78);
    expect(wrong.output).toContain("WRONGPASS");
    const unsafe = await serve(`redis://:hush-word@${at}`);
    expect(unsafe.code).toBe(78);
    expect(unsafe.output).toContain("appendfsync everysec");
    const nowhere = await serve(`redis://:hush-word@127.0.0.1:${await freePort()}`);
    expect(nowhere.code).toBe(69);
    expect(nowhere.output).toContain("ECONNREFUSED");
    expect((await serve(`redis://:hush-word@${at}?typo=1`)).code).toBe(78);
  }, 30_000);
});
