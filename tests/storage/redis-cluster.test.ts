import { expect, test } from "bun:test";
import { describeWithPeers } from "../support/peers.ts";
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
    expect(storage.store.refusal()).toBeUndefined();
  }, 60_000);
});

async function openedAt(url: string) {
  const store = await openStore(url, { silenceMs: 3000 });
  return { store, [Symbol.asyncDispose]: () => store.close() };
}
