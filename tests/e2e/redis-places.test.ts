import { afterAll, beforeAll, expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { type Daemon, startDaemon } from "../support/binary.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { drained, QUICK } from "./help.ts";

const LIMIT = 6;
const DOT_MS = 20;
const LIMITED = [
  ...["--set", `queue.per_destination_max=${LIMIT}`],
  ...["--set", `queue.per_destination_start=${LIMIT}`],
  // So that no node has all of the mail.
  ...["--set", "queue.window_per_destination=20"],
  ...["--set", "queue.lease=5s"],
];
/** A connection that was said goodbye to is gone by then, also on a busy machine. */
const GOODBYE_MS = 150;

/** Watches how many are connected; resolves with for how long there were too many at once. */
function watch(hop: LedgerReceiver) {
  let since: number | undefined;
  let [longestMs, most] = [0, 0];
  const timer = setInterval(() => {
    const count = hop.connections();
    most = Math.max(most, count);
    if (count <= LIMIT) since = undefined;
    else {
      since ??= performance.now();
      longestMs = Math.max(longestMs, performance.now() - since);
    }
  }, 1);
  return {
    stop() {
      clearInterval(timer);
      return { longestMs, most };
    },
  };
}

async function sent(node: Daemon): Promise<number> {
  const text = await (await node.admin("/metrics")).text();
  return Number(/^slimta_delivery_total\{result="sent"\} (\d+)/mu.exec(text)?.[1] ?? 0);
}

/** The limit of each destination with mail, and what the node has of it. */
async function limitsOf(node: Daemon) {
  const { destinations } = (await node.adminJson("/v1/queue")) as {
    destinations: readonly { readonly limit: number; readonly places: number }[];
  };
  return destinations.map(({ limit, places }) => ({ limit, places }));
}

describeWithPeers(["redis-server"], "nodes that share a next hop's limit", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  test("come, go and die: never more connections than the limit, and work for all", async () => {
    await using hop = await ledgerReceiver({ dotDelayMs: DOT_MS });
    const spool = server.url("?prefix=places");
    const to = ["--relay", `smtp://127.0.0.1:${hop.port}`];
    const relay = (): Promise<Daemon> =>
      startDaemon({ spool, relayOnly: true, args: [...to, ...LIMITED, ...QUICK] });
    await using edge = await startDaemon({ spool, args: ["--relay", "none", ...QUICK] });
    const client = ledgerClient({ paceMs: () => 12 });
    const stop = new AbortController();
    const sending = client.send(edge.smtpPort, 4, stop.signal);
    const watched = watch(hop);
    const nodes = await Promise.all([relay(), relay(), relay()]);
    const [dying, leaving, staying] = nodes;
    await until("all have work", async () =>
      (await Promise.all(nodes.map(sent))).every((count) => count >= 30),
    );
    for (const node of nodes) {
      // Between two looks for mail it may have none for a moment.
      const limits = await until("it has mail", async () => {
        const found = await limitsOf(node);
        return found.length > 0 && found;
      });
      expect(limits).toEqual([{ limit: LIMIT, places: expect.any(Number) }]);
    }
    expect(await limitsOf(edge)).toEqual([]);
    dying?.kill("SIGKILL");
    await dying?.exited;
    await using late = await relay();
    await until("who comes late has work", async () => (await sent(late)) >= 30);
    expect(await leaving?.stop()).toBe(0);
    stop.abort();
    await sending;
    await drained(edge, 30_000);
    const { longestMs, most } = watched.stop();
    expect(longestMs).toBeLessThan(GOODBYE_MS);
    expect(most).toBeGreaterThanOrEqual(LIMIT);
    expect([...client.acknowledged.keys()].filter((number) => !hop.taken.has(number))).toEqual([]);
    await staying?.stop();
  }, 60_000);
});
