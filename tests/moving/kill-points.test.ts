/** The process of a transfer ends before and after each call of a store, and the next run brings it to its end. */
import { describe, expect, test } from "bun:test";
import type { QueueStorage } from "../../src/storage/storage.ts";
import type { TestWorld } from "../storage/fixtures.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { everythingIn, type KeptStore, run, twoStores } from "./fixture.ts";

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

async function deliverable(store: KeptStore): Promise<readonly string[]> {
  const summaries = await store.open().list({ limit: 1000 });
  return summaries.filter(({ state }) => state !== "hold").map(({ id }) => id);
}

/** A daemon that delivers whatever it may deliver, some of it. */
async function deliver(store: KeptStore, delivered: string[], isLucky: () => boolean) {
  const storage = store.open();
  for (const id of await deliverable(store)) {
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
        const both = [...(await deliverable(stores.from)), ...(await deliverable(stores.to))];
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
