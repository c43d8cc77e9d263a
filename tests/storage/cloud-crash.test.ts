import { describe, expect, test } from "bun:test";
import { bodyContent } from "../../src/mail/content.ts";
import type { CloudStorage } from "../../src/storage/cloud/cloud-storage.ts";
import type { ObjectStore } from "../../src/storage/cloud/object-store.ts";
import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { type Break, brokenObjects } from "../support/broken-objects.ts";
import { type ObjectMemory, objectMemory } from "../support/object-memory.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";
import { bytesOf, envelope, idOf, type TestWorld, testWorld } from "./fixtures.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const REQUESTS_MAX = 200;
const LARGE = 300_000;

const open = (store: ObjectStore, world: TestWorld): Promise<CloudStorage> =>
  openCloudStorage(
    { freshBytesMax: 1e6 },
    { world: withoutLongWaits(world), emit: () => undefined, objectStore: store },
  );

/** What the queue may look like afterwards, as the ids that are stored. */
interface Step {
  readonly name: string;
  /** Undisturbed; leaves `before`. */
  prepare?(storage: QueueStorage, world: TestWorld): Promise<unknown>;
  run(storage: QueueStorage, world: TestWorld): Promise<unknown>;
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const [A, B, C] = [1, 2, 3];
const to = ["a@x.example", "b@y.example"];
const ended = { recipients: [0, 1].map((index) => ({ index, status: "delivered" as const })) };
const bounced = { recipients: [0, 1].map((index) => ({ index, status: "bounced" as const })) };
const partly = { attempts: 1, recipients: [{ index: 0, status: "bounced" as const }] };
const holder = "me";

const ids = (...numbers: readonly number[]) => numbers.map(idOf);
const one = (storage: QueueStorage, world: TestWorld) =>
  storage.write([envelope({ to })], world.clock.now(), { ids: ids(A) });
const leaseAll = (storage: QueueStorage, { clock }: TestWorld, who = holder) =>
  storage.lease(clock.now(), 100, { holder: who, until: clock.now() + HOUR });
const leased = async (storage: QueueStorage, world: TestWorld) => {
  await one(storage, world);
  await leaseAll(storage, world);
};
const notices = (...numbers: readonly number[]) =>
  numbers.map((number) => ({ id: idOf(number), envelope: envelope({ sender: "" }) }));
const large = async (storage: QueueStorage, world: TestWorld, ...numbers: readonly number[]) => {
  const sink = await storage.openBody();
  await sink.write(new Uint8Array(LARGE).fill(7));
  const content = bodyContent(await sink.end());
  const made = numbers.map(() => envelope({ to, content }));
  await storage.write(made, world.clock.now(), { ids: ids(...numbers) });
};

const STEPS: readonly Step[] = [
  { name: "write of one", run: one, before: [], after: [A] },
  {
    name: "write of one that nobody else has, leased",
    run: (storage, { clock }) => {
      const lease = { holder, until: clock.now() + HOUR };
      return storage.write([envelope({ to })], clock.now(), { ids: ids(A), fresh: true, lease });
    },
    before: [],
    after: [A],
  },
  {
    name: "write of three",
    run: (storage, { clock }) => {
      const made = [envelope({ to }), envelope({ to }), envelope({ to })];
      return storage.write(made, clock.now(), { ids: ids(A, B, C) });
    },
    before: [],
    after: [A, B, C],
  },
  {
    name: "write of a streamed body that two share",
    run: (storage, world) => large(storage, world, A, B),
    before: [],
    after: [A, B],
  },
  { name: "lease", prepare: one, run: leaseAll, before: [A], after: [A] },
  {
    name: "renew",
    prepare: leased,
    run: (storage, { clock }) => storage.renew(ids(A), holder, clock.now() + 2 * HOUR),
    before: [A],
    after: [A],
  },
  {
    name: "release",
    prepare: leased,
    run: (storage) => storage.release(ids(A), holder),
    before: [A],
    after: [A],
  },
  {
    name: "settle for another attempt",
    prepare: leased,
    run: (storage, { clock }) =>
      storage.settle(idOf(A), { attempts: 1, due: clock.now() + MINUTE }, { holder }),
    before: [A],
    after: [A],
  },
  {
    name: "settle to the end",
    prepare: leased,
    run: (storage) => storage.settle(idOf(A), ended, { holder }),
    before: [A],
    after: [],
  },
  {
    name: "settle to the end by an operator",
    prepare: one,
    run: (storage) => storage.settle(idOf(A), ended),
    before: [A],
    after: [],
  },
  {
    name: "settle to the end with bounces",
    prepare: leased,
    run: (storage) => storage.settle(idOf(A), bounced, { holder, bounces: notices(B, C) }),
    before: [A],
    after: [B, C],
  },
  {
    name: "settle with a bounce, somebody pending",
    prepare: leased,
    run: (storage) => storage.settle(idOf(A), partly, { holder, bounces: notices(B) }),
    before: [A],
    after: [A, B],
  },
  {
    name: "hold and free",
    prepare: one,
    run: async (storage) => {
      await storage.setHeld(idOf(A), true);
      await storage.setHeld(idOf(A), false);
    },
    before: [A],
    after: [A],
  },
  {
    name: "remove",
    prepare: (storage, world) => large(storage, world, A, B),
    run: (storage) => storage.remove(idOf(A)),
    before: [A, B],
    after: [B],
  },
  { name: "flush", prepare: one, run: (storage) => storage.flush(), before: [A], after: [A] },
];

/** Does the step with a break at each of its requests in turn. */
async function breakEverywhere(step: Step, kind: Omit<Break, "at">): Promise<number> {
  for (let at = 1; at < REQUESTS_MAX; at += 1) {
    const world = testWorld();
    const memory = objectMemory(() => world.clock.now());
    const broken = brokenObjects(memory.store);
    const storage = await open(broken.store, world);
    await step.prepare?.(storage, world);
    broken.breakAt({ at, ...kind });
    const isDone = await step.run(storage, world).then(
      () => true,
      () => false,
    );
    const what = `${step.name}, ${JSON.stringify({ at, ...kind })}, ${broken.seen.at(at - 1)}`;
    const hasBroken = broken.hasBroken();
    // What goes on behind an answer is part of it, unless the process has died.
    await storage.close();
    await check(what, memory, world, isDone ? [step.after] : [step.before, step.after]);
    if (!hasBroken) return at;
  }
  throw new Error(`${step.name} has no end`);
}

/** Another process finds one of these queues, can lease all that is in it, end it, and nothing is left. */
async function check(
  what: string,
  memory: ObjectMemory,
  world: TestWorld,
  allowed: readonly (readonly number[])[],
): Promise<void> {
  world.advance(3 * MINUTE);
  const heir = await open(memory.store, world);
  await leaseAll(heir, world, "heir");
  world.advance(DAY);
  const listed = (await heir.list({ limit: 100 })).map(({ id }) => id);
  for (const id of listed) await heir.setHeld(id, false);
  const mine = await leaseAll(heir, world, "heir again");
  const isAllowed = allowed.some((numbers) => Bun.deepEquals(ids(...numbers), listed));
  if (!isAllowed) throw new Error(`${what}: ${listed}`);
  expect({ what, leased: mine.map(({ id }) => id).toSorted() }).toEqual({ what, leased: listed });
  for (const id of listed) await bytesOf((await heir.get(id)).envelope.content);
  expect(await heir.getInfo()).toMatchObject({ size: listed.length, corrupt: 0 });
  for (const id of listed) await heir.settle(id, ended, { holder: "heir again" });
  for (const id of listed) await heir.remove(id);
  await heir.close();
  await expectClean(what, memory, world);
}

/** After some time nothing is left of it. */
async function expectClean(what: string, memory: ObjectMemory, world: TestWorld): Promise<void> {
  for (let round = 0; round < 3; round += 1) {
    world.advance(DAY);
    const cleaner = await open(memory.store, world);
    expect(await leaseAll(cleaner, world, "cleaner")).toEqual([]);
    expect(await cleaner.getInfo()).toMatchObject({ size: 0 });
    await cleaner.sweep();
    await cleaner.close();
  }
  const left = [...memory.objects.keys()].filter((key) => !key.startsWith("control/"));
  expect({ what, left }).toEqual({ what, left: [] });
}

/** Another process delivers what it gets, at once and later; resolves with what it has delivered. */
async function deliverAll(memory: ObjectMemory, world: TestWorld): Promise<readonly string[]> {
  const delivered: string[] = [];
  for (const pauseMs of [0, 3 * MINUTE, DAY, DAY]) {
    world.advance(pauseMs);
    const heir = await open(memory.store, world);
    for (const { id } of await leaseAll(heir, world, "heir")) {
      await heir.get(id);
      delivered.push(id);
      await heir.settle(id, ended, { holder: "heir" });
    }
    await heir.close();
  }
  return delivered.toSorted();
}

describe("what is stored in one step", () => {
  const several = STEPS.filter(({ name }) => /write of three|with bounces/u.test(name));
  for (const { name, prepare, run, before, after } of several) {
    test(`${name}: whoever finds it half done delivers each once, and all or none`, async () => {
      for (const isDone of [false, true]) {
        let hasBroken = true;
        for (let at = 1; hasBroken; at += 1) {
          const world = testWorld();
          const memory = objectMemory(() => world.clock.now());
          const broken = brokenObjects(memory.store);
          const storage = await open(broken.store, world);
          await prepare?.(storage, world);
          broken.breakAt({ at, isDone, isEnd: true });
          await run(storage, world).catch(() => undefined);
          hasBroken = broken.hasBroken();
          await storage.close();
          expect([ids(...before), ids(...after)]).toContainEqual([
            ...(await deliverAll(memory, world)),
          ]);
        }
      }
    });
  }
});

describe("a process that dies at any request", () => {
  for (const step of STEPS) {
    test(step.name, async () => {
      await breakEverywhere(step, { isDone: false, isEnd: true });
      await breakEverywhere(step, { isDone: true, isEnd: true });
    });
  }
});

describe("a request that fails, whichever it is", () => {
  for (const step of STEPS) {
    test(step.name, async () => {
      await breakEverywhere(step, { isDone: false, isEnd: false });
      await breakEverywhere(step, { isDone: true, isEnd: false });
    });
  }
});
