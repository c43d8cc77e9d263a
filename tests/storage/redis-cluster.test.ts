import { expect, test } from "bun:test";
import { realWorld, type World } from "../../src/lib/world.ts";
import { manualClock } from "../observe/manual-clock.ts";
import { describeWithPeers } from "../support/peers.ts";
import type { RedisServer } from "../support/redis.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";
import { until } from "../support/until.ts";
import { envelope } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const LATER = 60_000;
describeWithPeers(["redis-server"], "a Redis Cluster of three", () => {
  test("a queue lives on one of them; when that dies its replica goes on with all that was there", async () => {
    await using cluster = await startRedisCluster(1);
    const [replica] = cluster.spares;
    if (replica === undefined) throw new Error("one is started");
    const owner = await cluster.ownerOf("{slimta}");
    await follow(replica, owner);
    // Nobody knows where the queue is before he has asked.
    const strangers = cluster.primaries.filter((server) => server !== owner);
    const url = `redis+cluster://127.0.0.1:${strangers[0]?.port},127.0.0.1:${replica.port}`;
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
    // What is due and whose lease is over goes by one clock.
    for (const stranger of strangers) {
      expect(await stranger.cli("info", "commandstats")).not.toContain("cmdstat_time:");
    }
    expect(await owner.cli("info", "commandstats")).toContain("cmdstat_time:");
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
    await until("who was refused may come back", () => storage.store.refusal() === undefined);
  }, 60_000);

  test("a cluster that is down says so, and is asked until it is well again", async () => {
    await using cluster = await startRedisCluster();
    const owner = await cluster.ownerOf("{slimta}");
    const stranger = cluster.primaries.find((server) => server !== owner) ?? owner;
    await using storage = await openedAt(cluster.url());
    await stranger.crash();
    await until("it is noticed", async () => {
      const write = storage.store.write([envelope()], Date.now());
      return write.then(
        () => false,
        (error: Error) => error.message === "cannot store the message: the Redis cluster is down",
      );
    });
    expect(storage.store.refusal()).toBe("the Redis cluster is down");
    await stranger.restart();
    await until("it is well again", () => storage.store.refusal() === undefined);
    await storage.store.write([envelope()], Date.now());
  }, 60_000);

  test("another one that gives its slots to its replica does not concern it", async () => {
    await using cluster = await startRedisCluster(1);
    const [replica] = cluster.spares;
    if (replica === undefined) throw new Error("one is started");
    const owner = await cluster.ownerOf("{slimta}");
    const stranger = cluster.primaries.find((server) => server !== owner) ?? owner;
    await follow(replica, stranger);
    const time = manualClock(Date.now());
    const world = { ...realWorld, clock: time.clock };
    await using storage = await openedAt(cluster.url(), { world });
    await takeOver(replica, stranger);
    const asked = await promisesAsked(owner);
    time.advance(60_000);
    await until("promises are read", async () => (await promisesAsked(owner)) > asked);
    // Behind what was asked before.
    await storage.store.probe();
    expect(storage.store.refusal()).toBeUndefined();
  }, 60_000);

  test("where the queue is after its server gave it to its replica is asked there", async () => {
    await using cluster = await startRedisCluster(1);
    const [replica] = cluster.spares;
    if (replica === undefined) throw new Error("one is started");
    const owner = await cluster.ownerOf("{slimta}");
    await follow(replica, owner);
    const time = manualClock(Date.now());
    const world = { ...realWorld, clock: time.clock };
    await using storage = await openedAt(cluster.url(), { world });
    await takeOver(replica, owner);
    await replica.cli("config", "set", "appendfsync", "no");
    time.advance(60_000);
    await until("it is noticed", () => storage.store.refusal()?.includes("appendfsync no"));
    await replica.cli("config", "set", "appendfsync", "always");
    await until("it is well again", () => {
      time.advance(1000);
      return storage.store.refusal() === undefined;
    });
  }, 60_000);
});

async function openedAt(url: string, given: { readonly world?: World } = {}) {
  const store = await openStore(url, { silenceMs: 3000, ...given });
  return { store, [Symbol.asyncDispose]: () => store.close() };
}

/** Makes one the replica of another, and waits until it has what that one has. */
async function follow(replica: RedisServer, primary: RedisServer): Promise<void> {
  const id = await primary.cli("cluster", "myid");
  await until("the replica knows it", () =>
    replica.cli("cluster", "replicate", id).then(
      () => true,
      () => false,
    ),
  );
  await until("it follows", async () => {
    const info = await replica.cli("info", "replication");
    return info.includes(`master_port:${primary.port}`) && info.includes("master_link_status:up");
  });
}

/** The replica becomes the primary, and nobody loses a connection. */
async function takeOver(replica: RedisServer, primary: RedisServer): Promise<void> {
  await replica.cli("cluster", "failover", "takeover");
  await until("it takes over", async () =>
    (await primary.cli("info", "replication")).includes("role:slave"),
  );
}

/** How often this server was asked how it is set up. */
async function promisesAsked(server: RedisServer): Promise<number> {
  const stats = await server.cli("info", "commandstats");
  return Number(/cmdstat_config\|get:calls=(\d+)/u.exec(stats)?.[1] ?? 0);
}
