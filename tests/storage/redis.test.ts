import { afterAll, beforeAll } from "bun:test";
import { storageContract } from "../contract/contract.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";
import { openStore } from "./redis-fixture.ts";

/** The server's clock is as much ahead of the node's in all of these. */
const AHEAD_MS = 12_345;

describeWithPeers(["redis-server"], "Redis", () => {
  let server: RedisServer;
  let queues = 0;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  storageContract("redis", async (world) => {
    queues += 1;
    const serverTime = () => world.clock.now() + AHEAD_MS;
    const given = { world: withoutLongWaits(world), serverTime };
    const storage = await openStore(server.url(`?prefix=q${queues}`), given);
    return { storage, hasNews: true, [Symbol.asyncDispose]: () => storage.close() };
  });
});
