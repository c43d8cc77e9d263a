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
