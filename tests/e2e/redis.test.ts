import { afterAll, beforeAll, expect, test } from "bun:test";
import { runProduct } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { QUICK } from "./help.ts";
import { nodeScenarios } from "./nodes.ts";

describeWithPeers(["redis-server"], "nodes on one Redis", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  nodeScenarios("redis", () => ({
    spool: (queue) => server.url(`?prefix=${queue}`),
    crash: () => server.crash(),
    restart: () => server.restart(),
    complaint: "the Redis server cannot be reached",
  }));

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
