import { describe, expect, test } from "bun:test";
import type { CloudStorage } from "../../src/storage/cloud/cloud-storage.ts";
import type { ObjectStore } from "../../src/storage/cloud/object-store.ts";
import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import { NotFoundError } from "../../src/storage/storage.ts";
import { type BrokenObjects, brokenObjects } from "../support/broken-objects.ts";
import { type ObjectMemory, objectMemory } from "../support/object-memory.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";
import { bytesOf, envelope, idOf, type TestWorld, testWorld } from "./fixtures.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const ended = { recipients: [{ index: 0, status: "delivered" as const }] };
const holder = "me";
const ID = idOf(1);

interface Stage {
  readonly world: TestWorld;
  readonly memory: ObjectMemory;
  readonly broken: BrokenObjects;
  open(store?: ObjectStore): Promise<CloudStorage>;
  lease(node: CloudStorage, who?: string): Promise<readonly string[]>;
}

function stage(): Stage {
  const world = testWorld();
  const memory = objectMemory(world.clock.now);
  const broken = brokenObjects(memory.store);
  return {
    ...{ world, memory, broken },
    open: (objectStore = memory.store) =>
      openCloudStorage(
        { freshBytesMax: 1e6 },
        { world: withoutLongWaits(world), emit: () => undefined, objectStore },
      ),
    async lease(node, who = holder) {
      const now = world.clock.now();
      const leases = await node.lease(now, 100, { holder: who, until: now + HOUR });
      return leases.map(({ id }) => id);
    },
  };
}

/** The state is written, but nobody hears of it: the answer is lost, and so is what asks for it. */
function loseStates({ store }: ObjectMemory, isOn: () => boolean): ObjectStore {
  let isLost = false;
  return {
    ...store,
    async put(key, bytes, condition) {
      const version = await store.put(key, bytes, condition);
      if (!key.startsWith("state/") || !isOn()) return version;
      isLost = true;
      throw new Error("the answer is lost");
    },
    async get(key, range) {
      if (isLost && key.startsWith("state/")) {
        isLost = false;
        throw new Error("no answer either");
      }
      return await store.get(key, range);
    },
  };
}

describe("of what nobody knows whether it was done", () => {
  test("a renewal is not taken for the settlement behind it", async () => {
    const { memory, world, open, lease } = stage();
    let isOn = false;
    const node = await open(loseStates(memory, () => isOn));
    await node.write([envelope()], world.clock.now(), { ids: [ID] });
    await lease(node);
    isOn = true;
    await expect(node.renew([ID], holder, world.clock.now() + 2 * HOUR)).rejects.toThrow();
    isOn = false;
    await node.settle(ID, ended, { holder });
    await expect(node.get(ID)).rejects.toThrow(NotFoundError);
    await node.close();
  });

  test("a settlement that is made again is the same one, and another one is not", async () => {
    const { memory, world, open, lease } = stage();
    let isOn = false;
    const node = await open(loseStates(memory, () => isOn));
    await node.write([envelope()], world.clock.now(), { ids: [ID] });
    await lease(node);
    const settlement = { attempts: 1, due: world.clock.now() + HOUR };
    isOn = true;
    await expect(node.settle(ID, settlement, { holder })).rejects.toThrow();
    isOn = false;
    await node.settle(ID, settlement, { holder });
    expect(await node.setHeld(ID, true)).toBe(true);
    expect(await node.get(ID)).toMatchObject({ attempts: 1, state: "hold" });
    await node.close();
  });

  test("the bodies of notices that were stored stay", async () => {
    const { memory, world, open, lease } = stage();
    let isOn = false;
    const node = await open(loseStates(memory, () => isOn));
    await node.write([envelope()], world.clock.now(), { ids: [ID] });
    await lease(node);
    const text = `Subject: x\r\n\r\n${"y".repeat(300_000)}`;
    const notice = envelope({ sender: "", text });
    const bounces = [2, 3].map((number) => ({ id: idOf(number), envelope: notice }));
    isOn = true;
    await expect(node.settle(ID, ended, { holder, bounces })).rejects.toThrow();
    await node.close();
    world.advance(10 * MINUTE);
    const heir = await open();
    await lease(heir);
    for (const { id } of bounces) {
      expect(await bytesOf((await heir.get(id)).envelope.content)).toHaveLength(text.length);
    }
    await heir.close();
  });
});

/** Leases and ends all that it gets; resolves with what that was. */
async function deliver(
  { lease }: Stage,
  node: CloudStorage,
  who = "heir",
): Promise<readonly string[]> {
  const ids = await lease(node, who);
  for (const id of ids) {
    await node.get(id);
    await node.settle(id, ended, { holder: who });
  }
  return ids;
}

const IDS = [1, 2, 3].map(idOf);
const group = (node: CloudStorage, { clock }: TestWorld) =>
  node.write(
    IDS.map(() => envelope()),
    clock.now(),
    { ids: IDS },
  );

describe("several messages, stored together, that others have delivered", () => {
  test("do not come back when it was only not heard that they were sent", async () => {
    const given = stage();
    const { store } = given.memory;
    const relay = await given.open();
    const delivered: string[] = [];
    let isFirst = true;
    const deaf: ObjectStore = {
      ...store,
      async remove(keys) {
        await store.remove(keys);
        if (!isFirst || !keys[0]?.startsWith("state/")) return;
        isFirst = false;
        delivered.push(...(await deliver(given, relay)));
        throw new Error("the answer is lost");
      },
    };
    const edge = await given.open(deaf);
    await group(edge, given.world);
    expect(delivered.toSorted()).toEqual(IDS);
    expect(await deliver(given, relay)).toEqual([]);
    expect(await relay.getInfo()).toMatchObject({ size: 0 });
    await Promise.all([edge.close(), relay.close()]);
  });

  test("do not come back when who sent them was stopped behind a marker", async () => {
    const given = stage();
    const { store } = given.memory;
    const delivered: string[] = [];
    let markers = 0;
    const stopped: ObjectStore = {
      ...store,
      async put(key, bytes, condition) {
        const version = await store.put(key, bytes, condition);
        if (key.startsWith("due/")) markers += 1;
        // The first is the one of all together.
        if (key.startsWith("due/") && markers === 2) {
          given.world.advance(5 * MINUTE);
          const heir = await given.open();
          delivered.push(...(await deliver(given, heir)), ...(await deliver(given, heir)));
          await heir.close();
        }
        return version;
      },
    };
    const edge = await given.open(stopped);
    await group(edge, given.world);
    expect(delivered.toSorted()).toEqual(IDS);
    given.world.advance(HOUR);
    const last = await given.open();
    expect(await deliver(given, last)).toEqual([]);
    expect(await last.getInfo()).toMatchObject({ size: 0 });
    await Promise.all([edge.close(), last.close()]);
  });

  test("are left alone by who was late while somebody else sends them", async () => {
    const given = stage();
    const { store } = given.memory;
    const [atGate, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const slow: ObjectStore = {
      ...store,
      async put(key, bytes, condition) {
        if (key === `mail/${IDS[0]}`) {
          atGate.resolve();
          await gate.promise;
        }
        return await store.put(key, bytes, condition);
      },
    };
    const heir = await given.open(slow);
    let heirs: Promise<readonly string[]> | undefined;
    const late: ObjectStore = {
      ...store,
      async put(key, bytes, condition) {
        const version = await store.put(key, bytes, condition);
        if (key === `mail/${IDS[2]}` && heirs === undefined) {
          given.world.advance(5 * MINUTE);
          heirs = deliver(given, heir);
          await atGate.promise;
        }
        return version;
      },
    };
    const edge = await given.open(late);
    await group(edge, given.world);
    const delivered = [...(await deliver(given, edge, "edge"))];
    gate.resolve();
    delivered.push(...((await heirs) ?? []));
    given.world.advance(HOUR);
    delivered.push(...(await deliver(given, edge)), ...(await deliver(given, heir)));
    expect(delivered.toSorted()).toEqual(IDS);
    await Promise.all([edge.close(), heir.close()]);
  });
});

test("a marker that was left alone for hours stays when another node sends what belongs to it", async () => {
  const given = stage();
  const { world, memory, broken } = given;
  const writer = await given.open(broken.store);
  // The marker and the state of all, then the markers of each.
  broken.breakAt({ at: 6, isDone: false, isEnd: true });
  await group(writer, world).catch(() => undefined);
  await writer.close();
  world.advance(3 * HOUR);
  const [atGate, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slow: ObjectStore = {
    ...memory.store,
    async list(query) {
      // The other one is quicker to see to the state.
      const page = await memory.store.list(query);
      return { ...page, objects: page.objects.filter(({ key }) => !key.includes(".ix.")) };
    },
    async remove(keys) {
      atGate.resolve();
      await gate.promise;
      await memory.store.remove(keys);
    },
  };
  const dropper = await given.open(slow);
  const leasing = given.lease(dropper, "dropper");
  await atGate.promise;
  const sender = await given.open();
  await sender.lease(world.clock.now(), 0, { holder, until: world.clock.now() + HOUR });
  expect(await sender.getInfo()).toMatchObject({ size: 3 });
  await sender.close();
  gate.resolve();
  await leasing;
  await dropper.close();
  world.advance(3 * HOUR);
  const last = await given.open();
  expect((await given.lease(last)).toSorted()).toEqual(IDS);
  await last.close();
});

describe("a condition that does not hold although nothing stands in its way", () => {
  test("is no message that was stored", async () => {
    const { memory, open, world } = stage();
    const { store } = memory;
    const busy: ObjectStore = {
      ...store,
      put: async (key, bytes, condition) =>
        key.startsWith("mail/") ? undefined : await store.put(key, bytes, condition),
    };
    const node = await open(busy);
    await expect(node.write([envelope()], world.clock.now(), { ids: [ID] })).rejects.toThrow();
    await node.close();
  });

  test("may be a write that comes late: its marker is there", async () => {
    const { memory, open, world, lease } = stage();
    const { store } = memory;
    const late = Promise.withResolvers<() => Promise<unknown>>();
    const busy: ObjectStore = {
      ...store,
      async put(key, bytes, condition) {
        if (!key.startsWith("state/")) return await store.put(key, bytes, condition);
        late.resolve(() => store.put(key, bytes, condition));
        return undefined;
      },
    };
    const node = await open(busy);
    await node.write([envelope()], world.clock.now(), { ids: [ID] });
    expect(await lease(node)).toEqual([]);
    await node.close();
    await (await late.promise)();
    for (const expected of [[], [ID]]) {
      const heir = await open();
      expect(await lease(heir, "heir")).toEqual(expected);
      await heir.close();
      world.advance(2 * HOUR);
    }
  });
});

test("a flush makes all due that waited, also for a node that starts after it", async () => {
  const { open, world, lease } = stage();
  const count = 2500;
  const node = await open();
  const made = Array.from({ length: count }, (_, index) => {
    return envelope({ to: [`x@d${index % 50}.example`] });
  });
  await node.write(made, world.clock.now() + HOUR);
  await node.flush();
  await node.close();
  const heir = await open();
  const leased = new Set<string>();
  for (let calls = 0; calls < 100 && leased.size < count; calls += 1) {
    for (const id of await lease(heir)) leased.add(id);
  }
  expect(leased.size).toBe(count);
  await heir.close();
}, 60_000);
