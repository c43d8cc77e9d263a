/**
 * The process of a transfer ends before and after each call of a store, and the next run brings it to its end; two of
 * them run at once.
 */
import { describe, expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import type { TestWorld } from "../storage/fixtures.ts";
import { openStore } from "../storage/redis-fixture.ts";
import { describeWithPeers } from "../support/peers.ts";
import { startRedis } from "../support/redis.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { everythingIn, fill, type KeptStore, keptStore, run, twoStores } from "./fixture.ts";

/** After so many calls nothing is done any more, and nobody hears of the last one. */
interface Fuse {
  left: number;
  readonly burnt: PromiseWithResolvers<void>;
}

function fused(inner: QueueStorage, fuse: Fuse, isAfter: boolean): QueueStorage {
  return new Proxy(inner, {
    get(target, property) {
      const method: unknown = Reflect.get(target, property);
      if (typeof method !== "function") return method;
      if (property === "refusal") return method.bind(target);
      return async (...parameters: readonly unknown[]) => {
        fuse.left -= 1;
        if (fuse.left < 0) return await never(fuse);
        const isLast = fuse.left === 0;
        if (isLast && !isAfter) return await never(fuse);
        const answer: unknown = await method.apply(target, parameters);
        return isLast ? await never(fuse) : answer;
      };
    },
  });
}

function never(fuse: Fuse): Promise<never> {
  fuse.burnt.resolve();
  return new Promise(() => undefined);
}

/** One life of a transfer that ends with its `calls`th call; false: it came to its end before. */
async function life(
  stores: { readonly from: KeptStore; readonly to: KeptStore; readonly world: TestWorld },
  calls: number,
  isAfter: boolean,
  atOnce: number,
): Promise<boolean> {
  const fuse: Fuse = { left: calls, burnt: Promise.withResolvers<void>() };
  const { from, to, world } = stores;
  const whole = run(fused(from.open(), fuse, isAfter), fused(to.open(), fuse, isAfter), world, {
    atOnce,
  });
  const ended = await Promise.race([whole, fuse.burnt.promise]);
  return ended === undefined;
}

async function deliverableIn(store: KeptStore): Promise<readonly string[]> {
  const summaries = await store.open().list({ limit: 1000 });
  return summaries.filter(({ state }) => state !== "hold").map(({ id }) => id);
}

/** A daemon that delivers whatever it may deliver, some of it. */
async function deliver(store: KeptStore, delivered: string[], isLucky: () => boolean) {
  const storage = store.open();
  for (const id of await deliverableIn(store)) {
    if (!isLucky()) continue;
    delivered.push(id);
    await storage.remove(id);
  }
}

const COUNT = 3;

describe("a transfer that is killed", () => {
  for (const isAfter of [false, true]) {
    test(`${isAfter ? "after" : "before"} any call leaves nothing lost, doubled or changed behind its next run`, async () => {
      let wasKilled = true;
      let calls = 0;
      while (wasKilled) {
        calls += 1;
        const stores = await twoStores(COUNT);
        const before = await everythingIn(stores.from.open());
        wasKilled = await life(stores, calls, isAfter, 1);
        const both = [...(await deliverableIn(stores.from)), ...(await deliverableIn(stores.to))];
        expect(new Set(both).size, `deliverable once, killed at call ${calls}`).toBe(both.length);
        const [from, to] = [stores.from.open(), stores.to.open()];
        const report = await run(from, to, stores.world);
        expect(report, `call ${calls}`).toMatchObject({ left: 0, halfway: 0, gone: 0 });
        expect(await everythingIn(to), `killed at call ${calls}`).toEqual(before);
        expect((await from.getInfo()).size).toBe(0);
      }
      expect(calls).toBeGreaterThan(7 * COUNT);
    });
  }

  test("again and again, with daemons that deliver between the runs, delivers each message once", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    for (let round = 0; round < 60; round += 1) {
      const stores = await twoStores(6);
      const delivered: string[] = [];
      const isLucky = (): boolean => random() < 0.3;
      for (let lives = 0; lives < 6; lives += 1) {
        const calls = 1 + Math.floor(random() * 40);
        await life(stores, calls, random() < 0.5, 1 + Math.floor(random() * 5));
        await deliver(stores.from, delivered, isLucky);
        await deliver(stores.to, delivered, isLucky);
      }
      const [from, to] = [stores.from.open(), stores.to.open()];
      await run(from, to, stores.world);
      expect((await from.getInfo()).size, `seed ${seed}, round ${round}`).toBe(0);
      const left = (await to.list({ limit: 100 })).map(({ id }) => id);
      const all = [...delivered, ...left].sort();
      expect(all, `seed ${seed}, round ${round}`).toEqual([...stores.ids]);
    }
  });
});

/** Answers after some turns of the event loop, before and after it has done what was asked. */
function dawdling(inner: QueueStorage, random: () => number): QueueStorage {
  const turns = async (): Promise<void> => {
    for (let left = Math.floor(random() * 4); left > 0; left -= 1) {
      await new Promise((next) => setImmediate(next));
    }
  };
  return new Proxy(inner, {
    get(target, property) {
      const method: unknown = Reflect.get(target, property);
      if (typeof method !== "function") return method;
      if (property === "refusal") return method.bind(target);
      return async (...parameters: readonly unknown[]) => {
        await turns();
        const answer: unknown = await method.apply(target, parameters);
        await turns();
        return answer;
      };
    },
  });
}

/** Notes what is removed although some node could have delivered it at that moment. */
function guarded(inner: QueueStorage, loose: string[]): QueueStorage {
  const settle: QueueStorage["settle"] = async (id, change, options) => {
    if (change.recipients !== undefined && (await inner.get(id)).state !== "hold") loose.push(id);
    await inner.settle(id, change, options);
  };
  return new Proxy(inner, {
    get: (_, name) => (name === "settle" ? settle : Reflect.get(inner, name).bind(inner)),
  });
}

describe("two transfers at once", () => {
  test("out of one store into two deliver each message from one of the three", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    for (let round = 0; round < 40; round += 1) {
      const { world, from, to, ids } = await twoStores(6);
      const third = keptStore(world);
      const loose: string[] = [];
      const source = guarded(from.open(), loose);
      const live = (target: KeptStore, name: string) => {
        const storage = dawdling(target.open(), random);
        const given = { atOnce: 3, to: { storage, name } };
        return run(dawdling(source, random), storage, world, given);
      };
      const both = () => Promise.all([live(to, "/to"), live(third, "/third")]);
      await both();
      const stores = [from, to, third];
      const deliverable = (await Promise.all(stores.map(deliverableIn))).flat();
      expect(new Set(deliverable).size, `seed ${seed}, round ${round}`).toBe(deliverable.length);
      expect(loose, `seed ${seed}, round ${round}`).toEqual([]);
      await both();
      const left = await Promise.all(stores.map((store) => store.open().list({ limit: 99 })));
      const there = left.flat().map(({ id }) => id);
      expect(there.sort(), `seed ${seed}, round ${round}`).toEqual([...ids]);
    }
  });
});

describeWithPeers(["redis-server"], "two transfers at once that are the same", () => {
  test("lose and double nothing", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    await using server = await startRedis();
    for (let round = 0; round < 20; round += 1) {
      const url = server.url(`?prefix=${round}`);
      const targets = [await openStore(url), await openStore(url)] as const;
      const from = keptStore(realWorld);
      const source = from.open();
      await fill(source, 6);
      const before = await everythingIn(source);
      const world = { ...realWorld, advance: () => undefined };
      const live = (target: QueueStorage) =>
        run(dawdling(source, random), dawdling(target, random), world, { atOnce: 3 });
      await Promise.all(targets.map(live));
      const [target] = targets;
      const free = (await target.list({ limit: 99 })).filter(({ state }) => state !== "hold");
      const both = [...(await deliverableIn(from)), ...free.map(({ id }) => id)];
      expect(new Set(both).size, `seed ${seed}, round ${round}`).toBe(both.length);
      // What both have stopped at belongs to one of them until its lease is over.
      for (const { id } of await target.list({ limit: 99 })) {
        const { lease } = await target.get(id);
        if (lease) await target.release([id], lease.holder);
      }
      await run(source, target, world);
      expect(await everythingIn(target), `seed ${seed}, round ${round}`).toEqual(before);
      for (const each of targets) await each.close();
    }
  });
});
