import { afterAll, beforeAll } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import { storageContract } from "../contract/contract.ts";
import { severalContract } from "../contract/several.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisCluster, startRedisCluster } from "../support/redis-cluster.ts";
import { openStore } from "./redis-fixture.ts";

/** The servers' clocks are as much ahead of the node's. */
const AHEAD_MS = 12_345;

describeWithPeers(["redis-server"], "a Redis Cluster", () => {
  let cluster: RedisCluster;
  let queues = 0;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  // Each queue has a name of its own, and with that one of the three nodes.
  storageContract("redis cluster", async ({ clock, random }) => {
    queues += 1;
    // It is connected to in real time: a cluster that does not answer in time is given up.
    const world = { random, clock: { now: clock.now, after: realWorld.clock.after } };
    const serverTime = () => clock.now() + AHEAD_MS;
    const storage = await openStore(cluster.url(`?prefix=q${queues}`), { world, serverTime });
    return { storage, hasNews: true, [Symbol.asyncDispose]: () => storage.close() };
  });

  severalContract("redis cluster", () => ({ url: (queue) => cluster.url(`?prefix=${queue}`) }));
});
