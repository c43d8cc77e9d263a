import { afterAll, beforeAll, expect, test } from "bun:test";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { allComeToTheirEnd, prepared, requireTemporary } from "../contract/interrupted.ts";
import { describeWithPeers } from "../support/peers.ts";
import type { RedisServer } from "../support/redis.ts";
import { type RedisCluster, type SlotMove, startRedisCluster } from "../support/redis-cluster.ts";
import { until } from "../support/until.ts";
import { envelope } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const MINUTE = 60_000;
const ENDED = { recipients: [{ index: 0, status: "delivered" as const }] };
const ALL = 1000;

describeWithPeers(["redis-server"], "a slot of a Redis Cluster that moves to another node", () => {
  let cluster: RedisCluster;
  let queues = 0;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  /** A queue that nobody has used, the one who has it, and one who could. */
  async function newQueue() {
    queues += 1;
    const owner = await cluster.ownerOf(`{q${queues}}`);
    const other = cluster.primaries.find((each) => each !== owner);
    if (other === undefined) throw new Error("there are three");
    return { url: cluster.url(`?prefix=q${queues}`), key: `{q${queues}}`, owner, other };
  }

  for (const [point, share] of [
    ["before the first key has gone", 0],
    ["half of the way", 0.5],
    ["when all keys have gone", 1],
  ] as const) {
    test(`whatever is asked ${point} is done as a whole or not at all, and works afterwards`, async () => {
      const { url, key, owner, other } = await newQueue();
      await using node = await opened(url);
      await using witness = await opened(url);
      const stage = { node: node.storage, witness: witness.storage };
      const scenes = await prepared(stage);
      const move = await cluster.move(key, owner, other);
      await move.carry(Math.ceil((await keysOf(owner, key)) * share));
      const results = await Promise.allSettled(
        scenes.map(async ({ step, scene }) => await step.run(stage.node, scene)),
      );
      const refused = results.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
      for (const error of refused) requireTemporary(error);
      expect(String(refused[0])).toContain("moving the queue to another node");
      await carryAll(move);
      await move.finish();
      await allComeToTheirEnd(scenes, stage);
    }, 30_000);
  }

  test("there and back again under load: what was acknowledged is delivered once", async () => {
    const { url, key, owner, other } = await newQueue();
    await using edge = await opened(url);
    await using relay = await opened(url);
    const load = startLoad(edge.storage, relay.storage);
    for (const [from, to] of [
      [owner, other],
      [other, owner],
    ] as const) {
      await load.goesOn();
      const move = await cluster.move(key, from, to);
      while ((await move.carry(5)) > 0);
      await move.finish();
    }
    await load.goesOn();
    await load.stop();
    expect(await relay.storage.getInfo()).toMatchObject({ size: 0, bytes: 0, corrupt: 0 });
    expect(load.delivered.toSorted()).toEqual([...new Set(load.delivered)].toSorted());
    expect(load.delivered.toSorted()).toEqual(load.acknowledged.toSorted());
  }, 60_000);
});

async function keysOf(owner: RedisServer, key: string): Promise<number> {
  const slot = await owner.cli("cluster", "keyslot", key);
  return Number(await owner.cli("cluster", "countkeysinslot", slot));
}

async function carryAll(move: SlotMove): Promise<void> {
  while ((await move.carry(ALL)) > 0);
}

async function opened(url: string) {
  const storage = await openStore(url);
  return { storage, [Symbol.asyncDispose]: () => storage.close() };
}

/** One who writes and one who delivers, as fast as they can; what fails has to be temporary and is done again. */
function startLoad(edge: QueueStorage, relay: QueueStorage) {
  const acknowledged: string[] = [];
  const delivered: string[] = [];
  let isStopped = false;
  let rounds = 0;

  const insist = <T>(work: () => Promise<T>): Promise<T> =>
    until("it works again", async () => {
      try {
        return { answer: await work() };
      } catch (error) {
        requireTemporary(error);
        return undefined;
      }
    }).then(({ answer }) => answer);

  async function write(): Promise<void> {
    while (!isStopped) {
      const to = [`x@d${rounds % 3}.example`];
      const made = [envelope({ to }), envelope({ to })];
      acknowledged.push(...(await insist(() => edge.write(made, Date.now()))));
      rounds += 1;
    }
  }

  /** How many that were. */
  async function deliver(): Promise<number> {
    const options = () => ({ holder: "relay", until: Date.now() + MINUTE });
    const leases = await insist(() => relay.lease(Date.now(), 8, options()));
    await Promise.all(
      leases.map(async ({ id }, index) => {
        if (index % 3 === 1) return await insist(() => relay.release([id], "relay"));
        await insist(() => relay.settle(id, ENDED, { holder: "relay" }));
        delivered.push(id);
      }),
    );
    return leases.length;
  }

  async function work(): Promise<void> {
    while (!isStopped) await deliver();
  }
  const running = Promise.all([write(), work()]);

  return {
    acknowledged,
    delivered,
    async goesOn() {
      const [written, done] = [acknowledged.length, delivered.length];
      await until(
        "mail flows",
        () => acknowledged.length > written + 20 && delivered.length > done + 20,
      );
    },
    async stop() {
      isStopped = true;
      await running;
      await until("all is delivered", async () => {
        await deliver();
        return (await relay.getInfo()).size === 0;
      });
    },
  };
}
