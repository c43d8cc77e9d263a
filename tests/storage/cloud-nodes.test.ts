import { describe, expect, test } from "bun:test";
import { realWorld, type World } from "../../src/lib/world.ts";
import { bodyContent } from "../../src/mail/content.ts";
import type { Event } from "../../src/observe/events.ts";
import type { CloudStorage } from "../../src/storage/cloud/cloud-storage.ts";
import type { ObjectStore } from "../../src/storage/cloud/object-store.ts";
import { withOwnConditions } from "../../src/storage/cloud/only-node.ts";
import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import { openSqs } from "../../src/storage/cloud/sqs/open-sqs.ts";
import type { News, WakeUp } from "../../src/storage/cloud/wake-up.ts";
import { CorruptError, LostLeaseError, NotFoundError } from "../../src/storage/storage.ts";
import { brokenObjects } from "../support/broken-objects.ts";
import { type ObjectMemory, objectMemory } from "../support/object-memory.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { startSqs } from "../support/sqs.ts";
import { until } from "../support/until.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";
import { bytesOf, collect, envelope, idOf, testWorld } from "./fixtures.ts";

const MINUTE = 60_000;
const ended = { recipients: [{ index: 0, status: "delivered" as const }] };

interface Given {
  readonly world?: World;
  readonly emit?: (event: Event) => void;
  readonly wakeUp?: WakeUp;
  readonly pollMs?: number;
}

function open(objectStore: ObjectStore, given: Given = {}): Promise<CloudStorage> {
  const { world = realWorld, emit = () => undefined, wakeUp, pollMs } = given;
  return openCloudStorage(
    { freshBytesMax: 1e6, ...(pollMs !== undefined && { pollMs }) },
    { world, emit, objectStore, ...(wakeUp && { wakeUp }) },
  );
}

const now = () => Date.now();
const real = (): ObjectMemory => objectMemory(now);
const keys = ({ objects }: ObjectMemory, prefix: string) =>
  [...objects.keys()].filter((key) => key.startsWith(prefix));

describe("nodes on one object store", () => {
  test("three that lease and settle at the same time deliver each message once", async () => {
    const { store } = real();
    const nodes = await Promise.all([open(store), open(store), open(store)]);
    const edge = await open(store);
    const ids = await edge.write(
      Array.from({ length: 300 }, (_, index) => envelope({ to: [`x@d${index % 7}.example`] })),
      now(),
    );
    const delivered: string[] = [];
    await Promise.all(
      nodes.map(async (node, index) => {
        const holder = `node ${index}`;
        while (delivered.length < ids.length) {
          const leases = await node.lease(now(), 20, { holder, until: now() + MINUTE });
          for (const { id } of leases) {
            await node.get(id);
            delivered.push(id);
            await node.settle(id, ended, { holder });
          }
        }
      }),
    );
    expect(delivered.toSorted()).toEqual([...ids]);
    await Promise.all([edge, ...nodes].map((node) => node.close()));
  });

  test("a message that was delivered cannot be leased by one who had seen it before", async () => {
    const { store } = real();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow: ObjectStore = {
      ...store,
      async put(key, bytes, condition) {
        if (key.startsWith("state/")) await held;
        return await store.put(key, bytes, condition);
      },
    };
    const [late, quick] = [await open(slow), await open(store)];
    const [id = ""] = await quick.write([envelope()], now());
    const leasing = late.lease(now(), 9, { holder: "late", until: now() + MINUTE });
    const leases = await quick.lease(now(), 9, { holder: "quick", until: now() + MINUTE });
    expect(leases.map((lease) => lease.id)).toEqual([id]);
    await quick.settle(id, ended, { holder: "quick" });
    await expect(quick.get(id)).rejects.toThrow(NotFoundError);
    release();
    expect(await leasing).toEqual([]);
    await Promise.all([late.close(), quick.close()]);
  });

  test("what one finds who only counts is told to whoever waits, new mail and leases that are over", async () => {
    const { store } = real();
    const [edge, relay] = [await open(store), await open(store, { pollMs: 20 })];
    const { signal } = new AbortController();
    const [id = ""] = await edge.write([envelope()], now());
    await until("it is counted", async () => (await relay.nextDue()) !== null);
    expect(await relay.wait(signal)).toEqual([]);
    const tenure = { holder: "dead", until: now() + 200 };
    await until("it is leased", async () => (await edge.lease(now(), 1, tenure)).length > 0);
    await until("it has ended", async () => ((await relay.nextDue()) ?? 0) <= now());
    expect(await relay.wait(signal)).toEqual([]);
    const leases = await relay.lease(now(), 1, { holder: "relay", until: now() + MINUTE });
    expect(leases.map((lease) => lease.id)).toEqual([id]);
    await Promise.all([edge.close(), relay.close()]);
  });

  test("a marker whose mail is still on its way is left alone", async () => {
    const { store } = real();
    const arrived = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const slow: ObjectStore = {
      ...store,
      async put(key, bytes, condition) {
        if (key.startsWith("mail/")) {
          arrived.resolve();
          await goOn.promise;
        }
        return await store.put(key, bytes, condition);
      },
    };
    const [edge, relay] = [await open(slow), await open(store, { pollMs: 0 })];
    const writing = edge.write([envelope()], now());
    await arrived.promise;
    const lease = () => relay.lease(now(), 9, { holder: "r", until: now() + MINUTE });
    expect(await lease()).toEqual([]);
    expect(await lease()).toEqual([]);
    goOn.resolve();
    const [id = ""] = await writing;
    expect((await lease()).map((each) => each.id)).toEqual([id]);
    await Promise.all([edge.close(), relay.close()]);
  });

  test("two that make the same change at the same time leave its marker to the one who made it", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const { store } = real();
    const late = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 3 * random()));
    const uneven: ObjectStore = {
      ...store,
      async put(key, bytes, condition) {
        await late();
        return await store.put(key, bytes, condition);
      },
    };
    const [one, other] = [await open(uneven), await open(uneven)];
    for (let round = 0; round < 20; round += 1) {
      const [id = ""] = await one.write([envelope()], now());
      const changed = await Promise.all([one, other].map((node) => node.setHeld(id, true)));
      expect(changed.toSorted()).toEqual([false, true]);
      const held = (await one.list({ limit: 9, state: "hold" })).map((each) => each.id);
      expect({ seed, held }).toEqual({ seed, held: [id] });
      await one.remove(id);
    }
    await Promise.all([one.close(), other.close()]);
  });

  test("who has lost the lease ends nothing, though it was sure of the end", async () => {
    const world = testWorld();
    const { store } = objectMemory(world.clock.now);
    const node = await open(store, { world: withoutLongWaits(world) });
    const lease = { holder: "late", until: world.clock.now() + MINUTE };
    const [id = ""] = await node.write([envelope()], world.clock.now(), { lease, fresh: true });
    const stranger = node.settle(id, ended, { holder: "stranger" });
    await expect(stranger).rejects.toThrow(LostLeaseError);
    world.advance(MINUTE);
    await expect(node.settle(id, ended, { holder: "late" })).rejects.toThrow(LostLeaseError);
    expect(await node.getInfo()).toMatchObject({ size: 1 });
    await node.close();
  });

  test("who waits hears of another's mail without anybody telling, and of an expired lease", async () => {
    const { store } = real();
    const [edge, relay] = [await open(store), await open(store, { pollMs: 100 })];
    const { signal } = new AbortController();
    await relay.lease(now(), 9, { holder: "r", until: now() + MINUTE });
    const lease = { holder: "dead", until: now() + 300 };
    const dead = await edge.write([envelope()], now(), { lease });
    const alive = await edge.write([envelope()], now());
    const options = { holder: "r", until: now() + MINUTE };
    const leased = new Set<string>();
    while (leased.size < 2) {
      expect(await relay.wait(signal)).toEqual([]);
      for (const { id } of await relay.lease(now(), 9, options)) leased.add(id);
    }
    expect([...leased].toSorted()).toEqual([...dead, ...alive].toSorted());
    await Promise.all([edge.close(), relay.close()]);
  });

  test("a flush is known to all, and costs two requests however much there is", async () => {
    const { store } = real();
    const counted = brokenObjects(store);
    const [one, other] = [await open(counted.store), await open(store, { pollMs: 0 })];
    const made = Array.from({ length: 50 }, () => envelope());
    const ids = await one.write(made, now() + 10 * MINUTE);
    expect(await one.flush()).toBe(50);
    const requests = counted.seen.filter((what) => what.includes("control/epoch"));
    expect(requests.slice(-2)).toEqual(["get control/epoch", "put control/epoch"]);
    const options = { holder: "o", until: now() + MINUTE };
    const leases = await other.lease(now(), 100, options);
    expect(leases.map(({ id }) => id).toSorted()).toEqual([...ids]);
    await Promise.all([one.close(), other.close()]);
  });
});

describe("what is damaged", () => {
  test("is moved aside and told, and everything else flows", async () => {
    const memory = real();
    const events: Event[] = [];
    const node = await open(memory.store, { emit: (event) => events.push(event) });
    const sink = await node.openBody();
    await sink.write(new Uint8Array(300_000).fill(7));
    const large = envelope({ content: bodyContent(await sink.end()) });
    const ids: string[] = [];
    for (const made of [envelope(), envelope(), large, envelope()]) {
      ids.push(...(await node.write([made], now())));
    }
    const [flipped = "", state = "", hole = "", good = ""] = ids;
    await node.incrementAttempts(state);
    const spoil = (key: string) => {
      const found = memory.objects.get(key);
      if (found === undefined) throw new Error(`no ${key}`);
      memory.objects.set(key, { ...found, bytes: found.bytes.with(40, found.bytes[40]! ^ 1) });
    };
    spoil(`mail/${flipped}`);
    spoil(keys(memory, `state/${state}`)[0] ?? "");
    const [body = ""] = keys(memory, "body/");
    spoil(body);
    for (const id of [flipped, state]) {
      await expect(node.get(id)).rejects.toThrow(CorruptError);
      await expect(node.get(id)).rejects.toThrow(NotFoundError);
    }
    const { content } = (await node.get(hole)).envelope;
    await expect(bytesOf(content)).rejects.toThrow("fails its checksum");
    const leases = await node.lease(now() + 50, 9, { holder: "me", until: now() + MINUTE });
    expect(leases.map(({ id }) => id)).toEqual([good]);
    expect(await node.getInfo()).toMatchObject({ size: 1, corrupt: 3 });
    expect((await node.list({ limit: 9 })).map(({ id }) => id)).toEqual([good]);
    const told = events.flatMap((event) => (event.kind === "corrupt" ? [event.subject] : []));
    expect(told).toEqual([flipped, state, hole]);
    expect(keys(memory, "corrupt/")).toContain(`corrupt/${flipped}.mail`);
    expect(keys(memory, "corrupt/").filter((key) => key.endsWith(".note"))).toHaveLength(3);
    await node.close();
  });
});

describe("a queue that is deep", () => {
  test("twenty thousand overdue for a dead domain hide nothing, and are not in memory all", async () => {
    const world = testWorld();
    const memory = objectMemory(world.clock.now);
    const writer = await open(memory.store, { world: withoutLongWaits(world) });
    const due = world.clock.now();
    const piled = Array.from({ length: 2000 }, () => envelope({ to: ["x@dead.example"] }));
    for (let count = 0; count < 20_000; count += piled.length) await writer.write(piled, due);
    world.advance(MINUTE);
    const [id = ""] = await writer.write([envelope({ to: ["x@alive.example"] })], due + MINUTE);
    await writer.close();
    const counted = brokenObjects(memory.store);
    const node = await open(counted.store, { world: withoutLongWaits(world) });
    const options = { holder: "me", until: world.clock.now() + MINUTE };
    let asked = 0;
    const skip = (domain: string) => {
      asked += 1;
      return domain === "dead.example";
    };
    const lease = () => node.lease(world.clock.now(), 10, { ...options, skip });
    expect((await lease()).map((each) => each.id)).toEqual([id]);
    expect(asked).toBeLessThan(50);
    const listed = () => counted.seen.filter((what) => what === "list due/").length;
    const first = listed();
    expect(first).toBeLessThan(30);
    for (let looks = 0; looks < 10; looks += 1) await lease();
    expect(listed() - first).toBeLessThan(20);
    const taken = new Set<string>();
    while (taken.size < 3000) {
      const leases = await node.lease(world.clock.now(), 500, options);
      expect(leases.length).toBeGreaterThan(0);
      for (const each of leases) taken.add(each.id);
    }
    expect(await collect(node.load())).toHaveLength(20_001);
    await node.close();
  }, 60_000);
});

describe("a queue that wakes", () => {
  test("what it loses and repeats costs time and no mail", async () => {
    await using sqs = await startSqs();
    const queue = await sqs.queue("wake");
    const credentials = {
      get: async () => ({ accessKeyId: "a", secretAccessKey: "b" }),
      refuse() {},
    };
    const wake = () =>
      openSqs({
        ...{ queue, endpoint: sqs.endpoint, region: "us-east-1", credentials },
        ...{ clock: realWorld.clock, now, emit: () => undefined },
      } as Parameters<typeof openSqs>[0]);
    const { store } = real();
    const edge = await open(store, { wakeUp: await wake() });
    const relay = await open(store, { wakeUp: await wake(), pollMs: 200 });
    sqs.faults.next(/SendMessage/u, { kind: "answer", status: 500 }, 3);
    sqs.faults.next(/SendMessage/u, { kind: "repeat" }, 20);
    const stop = new AbortController();
    const done: string[] = [];
    const relaying = (async () => {
      while (!stop.signal.aborted) {
        const options = { holder: "r", until: now() + MINUTE };
        for (const { id } of await relay.lease(now(), 50, options)) {
          done.push(id);
          await relay.settle(id, ended, { holder: "r" });
        }
        await relay.wait(stop.signal);
      }
    })();
    const ids: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      ids.push(...(await edge.write([envelope(), envelope()], now())));
    }
    await until("all are done", () => done.length >= ids.length);
    stop.abort();
    await relaying;
    expect(done.toSorted()).toEqual(ids.toSorted());
    await Promise.all([edge.close(), relay.close()]);
  });

  test("news goes to whoever waits, at once", async () => {
    const { store } = real();
    const heard = Promise.withResolvers<readonly News[]>();
    const wakeUp: WakeUp = {
      tell: (news) => heard.resolve(news),
      listen: () => heard.promise,
      close: async () => undefined,
    };
    const edge = await open(store, { wakeUp });
    const relay = await open(store, { wakeUp, pollMs: MINUTE });
    const news = relay.wait(new AbortController().signal);
    await edge.write([envelope()], now(), { ids: [idOf(1)] });
    expect((await news)?.map(({ id }) => id)).toEqual([idOf(1)]);
    await Promise.all([edge.close(), relay.close()]);
  });
});

test("a store without conditions serves one node", async () => {
  const { store } = real();
  const node = await open(
    withOwnConditions({ ...store, put: (key, bytes) => store.put(key, bytes) }),
  );
  const ids = [idOf(1)];
  await node.write([envelope({ sender: "first@x" })], now(), { ids });
  await node.write([envelope({ sender: "second@x" })], now(), { ids });
  expect((await node.get(idOf(1))).envelope.sender).toBe("first@x");
  const counts = await Promise.all(ids.concat(ids).map((id) => node.incrementAttempts(id)));
  expect(counts.toSorted()).toEqual([1, 2]);
  await node.close();
});
