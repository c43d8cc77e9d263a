import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Child, startChild } from "../support/child.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { until } from "../support/until.ts";
import { openStore } from "./redis-fixture.ts";

const TTL = 60_000;
const NODE = `${import.meta.dir}/redis-places-node.ts`;

describeWithPeers(["redis-server"], "places at destinations in Redis", () => {
  let server: RedisServer;
  let queues = 0;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  /** So many nodes on one queue, each asking for so many places at `to`. */
  async function open(count: number) {
    queues += 1;
    const url = server.url(`?prefix=p${queues}`);
    const stores = await Promise.all(Array.from({ length: count }, () => openStore(url)));
    const ask = async (index: number, keeps: number, wants: number, ttl = TTL, takes = wants) => {
      const claim = { destination: "to", limit: 20, keeps, takes, wants };
      const [granted] = (await stores[index]?.places.claim([claim], ttl)) ?? [];
      if (granted === undefined) throw new Error("no answer");
      return granted;
    };
    const close = async () => await Promise.all(stores.map((store) => store.close()));
    return { url, ask, close, stores, key: `{p${queues}}:at:to` };
  }

  test("are never more than the limit; what one gives back another gets", async () => {
    const { ask, close, key } = await open(3);
    expect(await ask(0, 0, 15)).toMatchObject({ held: 15, self: 0, nodes: [{ held: 15 }] });
    const second = await ask(1, 0, 15);
    expect(second.held).toBe(5);
    expect(second.nodes).toHaveLength(2);
    expect(second.nodes[second.self]).toMatchObject({ held: 5, wants: 15 });
    const third = await ask(2, 0, 7);
    expect(third.held).toBe(0);
    expect(third.nodes.map(({ wants }) => wants).toSorted()).toEqual([15, 15, 7]);
    expect((await ask(0, 10, 15, TTL, 10)).held).toBe(10);
    expect((await ask(2, 0, 7)).held).toBe(5);
    expect((await ask(0, 0, 0)).self).toBe(-1);
    expect((await ask(1, 5, 20)).held).toBe(15);
    expect(Number(await server.cli("pttl", key))).toBeGreaterThan(TTL / 2);
    for (const index of [1, 2]) await ask(index, 0, 0);
    expect(await server.cli("exists", key)).toBe("0");
    await close();
  });

  test("what a silent node had is free when it expires, and what it says it uses counts all the same", async () => {
    const { ask, close } = await open(2);
    expect((await ask(0, 0, 20, 300)).held).toBe(20);
    expect((await ask(1, 0, 20)).held).toBe(0);
    await until("it has expired", async () => (await ask(1, 0, 20)).held === 20);
    // It was paused, and 8 deliveries of it are still under way: nobody gets more until that is over.
    expect((await ask(0, 8, 20)).held).toBe(8);
    expect((await ask(1, 15, 20)).held).toBe(15);
    expect((await ask(1, 11, 20)).held).toBe(12);
    await close();
  });

  test("a claim that a newer one has overtaken changes nothing", async () => {
    const { ask, close, key, stores } = await open(1);
    await ask(0, 0, 6);
    const [node = "", fields = ""] = (await server.cli("hgetall", key)).split("\n");
    const [, , , number] = fields.split(" ");
    await server.cli("hset", key, node, `6 6 ${Date.now() + TTL} ${Number(number) + 5}`);
    await ask(0, 0, 0);
    expect(await server.cli("hget", key, node)).toStartWith("6 6 ");
    expect(stores).toHaveLength(1);
    await close();
  });

  test("many destinations are one step, each counted for itself", async () => {
    const { stores, close } = await open(2);
    const claims = Array.from({ length: 200 }, (_, index) => {
      const wants = (index % 4) + 1;
      return { destination: `d${index}.example`, limit: 4, keeps: 0, takes: wants, wants };
    });
    const [first, second] = [
      (await stores[0]?.places.claim(claims, TTL)) ?? [],
      (await stores[1]?.places.claim(claims, TTL)) ?? [],
    ];
    for (const [index, { wants }] of claims.entries()) {
      expect(first[index]?.held).toBe(wants);
      expect(second[index]?.held).toBe(Math.min(wants, 4 - wants));
    }
    await close();
  });

  test("processes that ask at the same time, and are killed: the sum is never above the limit", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const { url, close, key } = await open(1);
    const start = () =>
      startChild([process.execPath, NODE, url, String(Math.floor(random() * 2 ** 31))]);
    let nodes: readonly Child[] = [start(), start(), start()];
    await Promise.all(nodes.map((node) => node.line(/^held [1-9]/u)));
    const sums: number[] = [];
    for (let round = 0; round < 60; round += 1) {
      const fields = (await server.cli("hvals", key)).split("\n").filter(Boolean);
      const alive = fields.map((field) => field.split(" ").map(Number));
      // What has expired counts no more, for those who ask next.
      const counted = alive.filter(([, , untilAt = 0]) => untilAt > Date.now());
      sums.push(counted.reduce((sum, [held = 0]) => sum + held, 0));
      if (round % 20 !== 10) continue;
      const [dying, ...others] = nodes;
      dying?.kill("SIGKILL");
      await dying?.exited;
      nodes = [...others, start()];
    }
    await Promise.all(nodes.map((node) => node.stop()));
    expect({ seed, most: Math.max(...sums) }).toEqual({ seed, most: 20 });
    await close();
  }, 60_000);
});
