import { describe, expect, test } from "bun:test";
import type { ObjectStore } from "../../src/storage/cloud/object-store.ts";
import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import { brokenObjects } from "../support/broken-objects.ts";
import { objectMemory } from "../support/object-memory.ts";
import { until } from "../support/until.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";
import { envelope, idOf, type TestWorld, testWorld } from "./fixtures.ts";

const HOUR = 3_600_000;
const holder = "me";
const ended = { recipients: [{ index: 0, status: "delivered" as const }] };
const bounced = { recipients: [{ index: 0, status: "bounced" as const }] };

/** A store that counts, and nodes on it. */
function counted(world: TestWorld) {
  const { store, seen } = brokenObjects(objectMemory(() => world.clock.now()).store);
  const open = (objectStore: ObjectStore = store) =>
    openCloudStorage(
      { freshBytesMax: 1e6 },
      { world: withoutLongWaits(world), emit: () => undefined, objectStore },
    );
  /** Requests that this takes, with what is done behind the answer. */
  const bill = async (work: () => Promise<unknown>) => {
    const before = seen.length;
    await work();
    await new Promise(setImmediate);
    const kinds = { put: 0, get: 0, list: 0, remove: 0 };
    for (const what of seen.slice(before)) kinds[what.split(" ")[0] as keyof typeof kinds] += 1;
    return kinds;
  };
  return { open, bill, seen };
}

describe("the bill: requests of a message's life", () => {
  test("accepted and delivered by one node: two writes", async () => {
    const world = testWorld();
    const { open, bill } = counted(world);
    const node = await open();
    const [now, ids] = [world.clock.now(), [idOf(1)]];
    const lease = { holder, until: now + HOUR };
    const accepted = await bill(() => node.write([envelope()], now, { ids, fresh: true, lease }));
    expect(accepted).toEqual({ put: 2, get: 0, list: 0, remove: 0 });
    // What others have done to it meanwhile is looked for; the content is not read again.
    expect(await bill(() => node.get(idOf(1)))).toEqual({ put: 0, get: 2, list: 0, remove: 0 });
    const settled = await bill(() => node.settle(idOf(1), ended, { holder }));
    expect(settled).toEqual({ put: 0, get: 0, list: 0, remove: 2 });
    await node.close();
  });

  test("accepted by one node and delivered by another: two writes more", async () => {
    const world = testWorld();
    const { open, bill } = counted(world);
    const [edge, relay] = [await open(), await open()];
    const now = world.clock.now();
    const accepted = await bill(() =>
      edge.write([envelope()], now, { ids: [idOf(1)], fresh: true }),
    );
    expect(accepted).toEqual({ put: 2, get: 0, list: 0, remove: 0 });
    const options = { holder, until: now + HOUR };
    const leased = await bill(() => relay.lease(now, 9, options));
    // The list and a small read are shared by all that is due.
    expect(leased).toEqual({ put: 2, get: 3, list: 1, remove: 1 });
    expect(await bill(() => relay.get(idOf(1)))).toEqual({ put: 0, get: 2, list: 0, remove: 0 });
    const settled = await bill(() => relay.settle(idOf(1), ended, { holder }));
    expect(settled).toEqual({ put: 0, get: 0, list: 0, remove: 1 });
    await Promise.all([edge.close(), relay.close()]);
  });

  test("put off: two writes; returned to its sender: five", async () => {
    const world = testWorld();
    const { open, bill } = counted(world);
    const node = await open();
    const now = world.clock.now();
    const lease = { holder, until: now + HOUR };
    await node.write([envelope()], now, { ids: [idOf(1)], fresh: true, lease });
    await node.write([envelope()], now, { ids: [idOf(2)], fresh: true, lease });
    const deferred = await bill(() =>
      node.settle(idOf(1), { attempts: 1, due: now + HOUR }, { holder }),
    );
    expect(deferred).toEqual({ put: 2, get: 0, list: 0, remove: 1 });
    const bounces = [{ id: idOf(3), envelope: envelope({ sender: "" }) }];
    const returned = await bill(() => node.settle(idOf(2), bounced, { holder, bounces }));
    expect(returned).toEqual({ put: 5, get: 0, list: 0, remove: 2 });
    await node.close();
  });

  test("a thousand that are removed at the same time share requests", async () => {
    const world = testWorld();
    const { open, seen } = counted(world);
    const node = await open();
    const now = world.clock.now();
    const lease = { holder, until: now + HOUR };
    const ids = Array.from({ length: 1000 }, (_, number) => idOf(number));
    await Promise.all(
      ids.map((id) => node.write([envelope()], now, { ids: [id], fresh: true, lease })),
    );
    const before = seen.length;
    await Promise.all(ids.map((id) => node.settle(id, ended, { holder })));
    await node.close();
    expect(seen.length - before).toBeLessThan(50);
  });
});

test("a node that waits looks once a second at most, and less when nothing comes", async () => {
  const { clock, ...rest } = testWorld();
  const waits: number[] = [];
  const after = (delayMs: number, run: () => void) => {
    waits.push(delayMs);
    return clock.after(delayMs, run);
  };
  const memory = objectMemory(clock.now);
  const world = withoutLongWaits({ ...rest, clock: { ...clock, after } }, 10_000);
  const node = await openCloudStorage(
    { freshBytesMax: 1e6 },
    { world, emit: () => undefined, objectStore: memory.store },
  );
  waits.length = 0;
  const stop = new AbortController();
  const waiting = node.wait(stop.signal);
  await until("it gets slower", () => waits.at(-1) === 5000);
  expect(waits[0]).toBe(1000);
  stop.abort();
  await waiting;
  await node.close();
});
