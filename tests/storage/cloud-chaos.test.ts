import { expect, test } from "bun:test";
import type { CloudStorage } from "../../src/storage/cloud/cloud-storage.ts";
import { nameOf, stateKey } from "../../src/storage/cloud/keys.ts";
import { decodeHead } from "../../src/storage/cloud/mail-object.ts";
import { markerKey, parseMarker } from "../../src/storage/cloud/marker.ts";
import type { ObjectStore } from "../../src/storage/cloud/object-store.ts";
import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import { decodeState, markerOf } from "../../src/storage/cloud/state-object.ts";
import { type ObjectMemory, objectMemory } from "../support/object-memory.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";
import { envelope, idOf, type TestWorld, testWorld } from "./fixtures.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const NODES = 3;
const STEPS = 120;
const LATE_TURNS = 400;
const RUNS = 3;

type Random = () => number;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Badness {
  readonly random: Random;
  isOn: boolean;
  /** Requests that are done some time after they have failed. */
  readonly late: Promise<unknown>[];
}

/** Requests fail: before they are done, behind it, or they come late. */
function badStore(inner: ObjectStore, badness: Badness): ObjectStore {
  const { random, late } = badness;

  async function later(work: () => Promise<unknown>): Promise<void> {
    for (let turns = Math.floor(random() * LATE_TURNS); turns > 0; turns -= 1) await turn();
    await work().catch(() => undefined);
  }

  async function asked<T>(work: () => Promise<T>, mayBeLate = false): Promise<T> {
    await turn();
    if (!badness.isOn || random() > 0.06) return await work();
    const how = random();
    if (how < 0.3) await work();
    else if (how < 0.6 && mayBeLate) late.push(later(work));
    throw new Error("no answer");
  }

  return {
    ...inner,
    // A mail that comes after it was written again and delivered comes back: no store without memory can tell.
    put: (key, bytes, condition) =>
      asked(() => inner.put(key, bytes, condition), !key.startsWith("mail/")),
    get: (key, range) => asked(() => inner.get(key, range)),
    remove: (keys) => asked(() => inner.remove(keys), true),
    list: (query) => asked(() => inner.list(query)),
  };
}

/** What happens to messages, and what has to come of it. */
interface Ledger {
  readonly accepted: Set<string>;
  readonly ended: Set<string>;
  /** Of what failed nobody knows. */
  readonly unclear: Set<string>;
}

interface Scene {
  readonly world: TestWorld;
  readonly random: Random;
  readonly ledger: Ledger;
  newId(): string;
}

async function noting(
  set: Set<string>,
  ids: readonly string[],
  scene: Scene,
  work: Promise<unknown>,
) {
  try {
    await work;
    for (const id of ids) set.add(id);
  } catch {
    for (const id of ids) scene.ledger.unclear.add(id);
  }
}

async function act(node: CloudStorage, holder: string, scene: Scene): Promise<void> {
  const { world, random, ledger, newId } = scene;
  const { clock } = world;
  const kind = random();
  if (kind < 0.25) {
    const ids = Array.from({ length: 1 + Math.floor(random() * 3) }, newId);
    const made = ids.map(() => envelope());
    await noting(ledger.accepted, ids, scene, node.write(made, clock.now(), { ids }));
  } else if (kind < 0.3) {
    world.advance(Math.floor(random() * 2 * MINUTE));
  } else if (kind < 0.4) {
    const all = [...ledger.accepted];
    const id = all[Math.floor(random() * all.length)] ?? newId();
    await node.setHeld(id, random() < 0.3);
  } else {
    const until = clock.now() + 2 * MINUTE;
    for (const { id } of await node.lease(clock.now(), 4, { holder, until })) {
      await deal(node, id, holder, scene).catch(() => undefined);
    }
  }
}

async function deal(node: CloudStorage, id: string, holder: string, scene: Scene): Promise<void> {
  const { world, random, ledger, newId } = scene;
  const kind = random();
  const now = world.clock.now();
  if (kind < 0.15) return await node.release([id], holder);
  if (kind < 0.3) return await node.renew([id], holder, now + 3 * MINUTE);
  if (kind < 0.55) {
    const due = now + Math.floor(random() * MINUTE);
    return await node.settle(id, { attempts: 1, due }, { holder });
  }
  const recipients = [{ index: 0, status: "bounced" as const }];
  if (kind < 0.75) {
    return await noting(ledger.ended, [id], scene, node.settle(id, { recipients }, { holder }));
  }
  const bounces = [{ id: newId(), envelope: envelope({ sender: "" }) }];
  const made = noting(
    ledger.ended,
    [id],
    scene,
    node.settle(id, { recipients }, { holder, bounces }),
  );
  await made;
  const isDone = ledger.ended.has(id);
  for (const bounce of bounces) (isDone ? ledger.accepted : ledger.unclear).add(bounce.id);
}

/** Messages that no marker shows: each needs its state's own, or any at all when it has ended and is only to be removed. */
function unmarked({ objects }: ObjectMemory): readonly string[] {
  const markers = [...objects.keys()].flatMap((key) => parseMarker(key) ?? []);
  const known = new Set(markers.map(nameOf));
  return [...objects].flatMap(([key, { bytes }]) => {
    if (!key.startsWith("mail/")) return [];
    const { initial } = decodeHead(bytes);
    const found = objects.get(stateKey(nameOf(initial)));
    const state = found === undefined ? initial : decodeState(found.bytes);
    const isKnown = state.isEnded
      ? known.has(nameOf(initial))
      : objects.has(markerKey(markerOf(state)));
    return isKnown ? [] : [initial.id];
  });
}

async function run(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const world = testWorld();
  const memory = objectMemory(world.clock.now);
  let ids = 0;
  const badness: Badness = { random, isOn: true, late: [] };
  const ledger = {
    accepted: new Set<string>(),
    ended: new Set<string>(),
    unclear: new Set<string>(),
  };
  const scene: Scene = {
    ...{ world, random, ledger },
    newId() {
      ids += 1;
      return idOf(ids);
    },
  };
  const open = (objectStore: ObjectStore) =>
    openCloudStorage(
      { freshBytesMax: 1e6, pollMs: 0 },
      { world: withoutLongWaits(world), emit: () => undefined, objectStore },
    );
  const lives = Array.from({ length: NODES }, async (_, index) => {
    for (let life = 0; life < 3; life += 1) {
      const store = badStore(memory.store, badness);
      const node = await open(store).catch(() => undefined);
      for (let step = 0; node && step < STEPS / 3; step += 1) {
        await act(node, `node ${index}.${life}`, scene).catch(() => undefined);
      }
      await node?.close();
    }
  });
  await Promise.all(lives);
  await Promise.all(badness.late);
  badness.isOn = false;
  expect({ seed, unmarked: unmarked(memory) }).toEqual({ seed, unmarked: [] });
  const left = await drain(world, () => open(memory.store));
  const missing = [...ledger.accepted].filter((id) => !ledger.ended.has(id) && !left.has(id));
  const back = [...ledger.ended].filter((id) => left.has(id));
  const lost = missing.filter((id) => !ledger.unclear.has(id));
  expect({ seed, lost, back }).toEqual({ seed, lost: [], back: [] });
}

/** Everything that can still be delivered, and what is left then is nothing. */
async function drain(
  world: TestWorld,
  open: () => Promise<CloudStorage>,
): Promise<ReadonlySet<string>> {
  const left = new Set<string>();
  for (let round = 0; round < 4; round += 1) {
    world.advance(round === 0 ? HOUR : DAY);
    const node = await open();
    for (const { id } of await node.list({ limit: 1000, state: "hold" })) {
      await node.setHeld(id, false);
    }
    const options = { holder: "heir", until: world.clock.now() + HOUR };
    for (const { id } of await node.lease(world.clock.now(), 1000, options)) {
      const { recipients } = (await node.get(id)).envelope;
      const ended = recipients.map(({ index }) => ({ index, status: "delivered" as const }));
      await node.settle(id, { recipients: ended }, { holder: "heir" });
      left.add(id);
    }
    if (round > 1) expect(await node.getInfo()).toMatchObject({ size: 0 });
    await node.close();
  }
  return left;
}

test("nodes that die over a store that fails lose nothing and bring nothing back", async () => {
  const seed = testSeed();
  for (let count = 0; count < RUNS; count += 1) await run(seed + count);
}, 60_000);
