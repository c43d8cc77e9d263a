import { expect, test } from "bun:test";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { envelope } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const LATER = 60_000;
const SLOTS = ["0-5460", "5461-10922", "10923-16383"];
const CLUSTER = [
  ...["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"],
  ...["--cluster-node-timeout", "1000"],
];

const ok = (server: RedisServer) =>
  until("the cluster", async () => (await server.cli("cluster", "info")).includes("state:ok"));

describeWithPeers(["redis-server"], "a Redis Cluster of three", () => {
  test("a queue lives on one of them; when that dies its replica goes on with all that was there", async () => {
    await using stack = new AsyncDisposableStack();
    const servers: RedisServer[] = [];
    for (let count = 0; count < 4; count += 1) {
      servers.push(stack.use(await startRedis({ args: CLUSTER })));
    }
    const [first, , , replica] = servers;
    if (!(first && replica)) throw new Error("four are started");
    for (const { port } of servers.slice(1)) {
      await first.cli("cluster", "meet", "127.0.0.1", String(port));
    }
    for (const [index, slots] of SLOTS.entries()) {
      await servers[index]?.cli("cluster", "addslotsrange", ...slots.split("-"));
    }
    await Promise.all(servers.map(ok));
    const slot = Number(await first.cli("cluster", "keyslot", "{slimta}"));
    const owner = servers[SLOTS.findIndex((slots) => slot <= Number(slots.split("-")[1]))];
    if (owner === undefined) throw new Error(`no owner of ${slot}`);
    const id = await owner.cli("cluster", "myid");
    await until("the replica knows it", () =>
      replica.cli("cluster", "replicate", id).then(
        () => true,
        () => false,
      ),
    );
    await until("it follows", async () =>
      (await replica.cli("info", "replication")).includes("master_link_status:up"),
    );
    // Nobody knows where the queue is before he has asked.
    const [stranger] = servers.filter((server) => server !== owner && server !== replica);
    const url = `redis+cluster://127.0.0.1:${stranger?.port},127.0.0.1:${replica.port}`;
    await using storage = await openedAt(url);
    const now = Date.now();
    const ids = await storage.store.write(
      Array.from({ length: 30 }, () => envelope()),
      now,
    );
    const [granted] = await storage.store.places.claim(
      [{ destination: "to", limit: 2, keeps: 0, takes: 2, wants: 2 }],
      LATER,
    );
    expect(granted?.held).toBe(2);
    await until(
      "the replica has it",
      async () => (await replica.cli("dbsize")) === (await owner.cli("dbsize")),
    );
    await owner.crash();
    const leases = await until(
      "the replica takes over",
      async () => {
        const options = { holder: "me", until: Date.now() + LATER };
        const found = await storage.store.lease(Date.now(), 99, options).catch(() => []);
        return found.length > 0 && found;
      },
      30_000,
    );
    expect(leases.map((lease) => lease.id).toSorted()).toEqual([...ids].toSorted());
    await until("mail is taken again", async () =>
      storage.store.write([envelope()], Date.now()).then(
        () => true,
        () => false,
      ),
    );
    expect(storage.store.refusal()).toBeUndefined();
  }, 60_000);
});

async function openedAt(url: string) {
  const store = await openStore(url, { silenceMs: 3000 });
  return { store, [Symbol.asyncDispose]: () => store.close() };
}
