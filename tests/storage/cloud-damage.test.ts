import { describe, expect, test } from "bun:test";
import { bodyContent } from "../../src/mail/content.ts";
import type { Event } from "../../src/observe/events.ts";
import type { CloudStorage } from "../../src/storage/cloud/cloud-storage.ts";
import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import { brokenObjects } from "../support/broken-objects.ts";
import { objectMemory } from "../support/object-memory.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";
import { envelope, idOf, testWorld } from "./fixtures.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const [BAD, GOOD] = [idOf(1), idOf(2)];

function stage() {
  const world = testWorld();
  const memory = objectMemory(world.clock.now);
  const broken = brokenObjects(memory.store);
  const events: Event[] = [];
  return {
    ...{ world, memory, broken },
    open: () =>
      openCloudStorage(
        { freshBytesMax: 1e6 },
        {
          world: withoutLongWaits(world),
          emit: (event) => events.push(event),
          objectStore: broken.store,
        },
      ),
    async lease(node: CloudStorage, limit = 1) {
      const now = world.clock.now();
      const leases = await node.lease(now, limit, { holder: "me", until: now + HOUR });
      return leases.map(({ id }) => id);
    },
    told: () => events.flatMap((event) => (event.kind === "corrupt" ? [event.subject] : [])),
    keys: (prefix: string) => [...memory.objects.keys()].filter((key) => key.startsWith(prefix)),
    spoil(prefix: string) {
      for (const [key, found] of memory.objects) {
        const bytes = found.bytes.map((octet, index) => (index === 40 ? octet ^ 1 : octet));
        if (key.startsWith(prefix)) memory.objects.set(key, { ...found, bytes });
      }
    },
  };
}

describe("a state that is damaged", () => {
  test("is found by the schedule, moved aside and told; what is behind it flows", async () => {
    const { world, open, lease, spoil, told, keys } = stage();
    const writer = await open();
    for (const id of [BAD, GOOD])
      await writer.write([envelope()], world.clock.now(), { ids: [id] });
    await writer.incrementAttempts(BAD);
    spoil("state/");
    await writer.close();
    const node = await open();
    expect(await lease(node)).toEqual([GOOD]);
    expect(await lease(node)).toEqual([]);
    expect(told()).toEqual([BAD]);
    expect(await node.getInfo()).toMatchObject({ size: 1, corrupt: 1 });
    await node.close();
    expect(keys("corrupt/")).toContain(`corrupt/${BAD}.mail`);
    expect(keys("corrupt/").some((key) => key.endsWith(".state"))).toBe(true);
    expect(keys("due/").filter((key) => key.includes(BAD))).toEqual([]);
    expect(keys("state/").filter((key) => key.includes(BAD))).toEqual([]);
  });

  test("of a held message does not stop the housekeeping", async () => {
    const { world, open, spoil, told } = stage();
    const writer = await open();
    await writer.write([envelope()], world.clock.now(), { ids: [BAD] });
    await writer.setHeld(BAD, true);
    spoil("state/");
    await writer.close();
    world.advance(2 * DAY);
    const node = await open();
    await node.sweep();
    expect(told()).toEqual([BAD]);
    expect(await node.getInfo()).toMatchObject({ size: 0, corrupt: 1 });
    await node.close();
  });

  test("of several that were written together is told, and those of them that are there flow", async () => {
    const { world, broken, open, lease, spoil, told, keys } = stage();
    const writer = await open();
    // The marker and the state of all; the marker and the mail of the first.
    broken.breakAt({ at: 5, isDone: false, isEnd: true });
    const made = [envelope(), envelope()];
    await writer.write(made, world.clock.now(), { ids: [BAD, GOOD] }).catch(() => undefined);
    await writer.close();
    broken.breakAt({ at: 0, isDone: false, isEnd: false });
    const there = keys("mail/").map((key) => key.slice("mail/".length));
    spoil("state/");
    world.advance(10 * MINUTE);
    const node = await open();
    const leased = [...(await lease(node, 9)), ...(await lease(node, 9))];
    expect(leased).toEqual(there);
    expect(told()).toHaveLength(1);
    expect(keys("corrupt/").some((key) => key.endsWith(".state"))).toBe(true);
    await node.close();
  });
});

test("the body of a message that was moved aside stays", async () => {
  const { world, open, spoil, keys } = stage();
  const node = await open();
  const sink = await node.openBody();
  await sink.write(new Uint8Array(300_000).fill(7));
  const content = bodyContent(await sink.end());
  await node.write([envelope({ content })], world.clock.now(), { ids: [BAD] });
  spoil("mail/");
  await expect(node.get(BAD)).rejects.toThrow();
  world.advance(3 * DAY);
  await node.sweep();
  expect(keys("body/")).toHaveLength(1);
  await node.close();
});

test("a message whose marker is lost is put into the schedule again", async () => {
  const { world, memory, open, lease, keys } = stage();
  const writer = await open();
  for (const id of [BAD, GOOD]) await writer.write([envelope()], world.clock.now(), { ids: [id] });
  await writer.incrementAttempts(GOOD);
  await writer.close();
  for (const key of keys("due/")) memory.objects.delete(key);
  world.advance(2 * DAY);
  const node = await open();
  expect(await lease(node, 9)).toEqual([]);
  await node.sweep();
  expect((await lease(node, 9)).toSorted()).toEqual([BAD, GOOD]);
  await node.close();
});

test("no end of markers is put again where none is lost", async () => {
  const { world, broken, open } = stage();
  const node = await open();
  const made = Array.from({ length: 50 }, () => envelope());
  await node.write(made, world.clock.now());
  world.advance(2 * DAY);
  broken.breakAt({ at: 0, isDone: false, isEnd: false });
  await node.sweep();
  expect(broken.seen.filter((what) => !what.startsWith("list"))).toEqual([]);
  await node.close();
});
