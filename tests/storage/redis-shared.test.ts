import { afterAll, beforeAll } from "bun:test";
import { interruptedContract } from "../contract/interrupted.ts";
import { severalContract } from "../contract/several.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { redisStoreServer } from "./redis-fixture.ts";

describeWithPeers(["redis-server"], "Redis", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  interruptedContract("redis", () => redisStoreServer(server));
  severalContract("redis", () => redisStoreServer(server));
});
