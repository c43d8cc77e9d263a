import { describe, expect, test } from "bun:test";
import { reply } from "../../src/mail/reply.ts";
import { openQueue, type Queue, type QueueOptions } from "../../src/queue/queue.ts";
import { PLACES_TTL_MS } from "../../src/queue/sharing.ts";
import type { Relay } from "../../src/relay/relay.ts";
import { FakeStorage } from "../support/fake-storage.ts";
import { placesLedger } from "../support/places-ledger.ts";
import { openRecorder } from "../support/recorder.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { type SimWorld, simWorld } from "../support/sim-world.ts";
import { mail, OPTIONS, SECOND } from "./queue-fixture.ts";

const LIMIT = 6;
const DELIVERY_MS = 50;
const IDLE_MS = 10 * SECOND;
const GOODBYE_MS = 3;
const THROTTLE = { ...OPTIONS.throttle, limitStart: LIMIT, limitMax: LIMIT };

/** A next hop that counts who is connected to it, and never forgets that there were too many. */
interface Hop {
  readonly world: SimWorld;
  open: number;
  most: number;
  taken: number;
}

interface Node {
  readonly queue: Queue;
  readonly kept: FakeStorage;
  /** Deliveries that ended well. */
  delivered: number;
  /** Deliveries take so long. */
  deliveryMs: number;
  /** Ends it at once: its connections are gone, and nobody gives its places back. */
  kill(): void;
}

/** A relay that keeps its connections for more mail, as those over SMTP do. */
function hopRelay({ world, hop, node }: { world: SimWorld; hop: Hop; node: () => Node }) {
  const parked = new Set<() => void>();
  let isDead = false;
  let own = 0;
  const pass = (ms: number) => new Promise<void>((resolve) => world.clock.after(ms, resolve));
  const change = (by: number): void => {
    if (isDead) return;
    own += by;
    hop.open += by;
    hop.most = Math.max(hop.most, hop.open);
  };
  const park = (): void => {
    const cancel = world.clock.after(IDLE_MS, () => void goodbye(cancel));
    parked.add(cancel);
  };
  let closing = 0;
  async function goodbye(cancel: () => void): Promise<void> {
    cancel();
    parked.delete(cancel);
    closing += 1;
    change(-1);
    await pass(GOODBYE_MS);
    closing -= 1;
  }
  const relay: Relay = {
    async deliver({ envelope }) {
      const [reused] = parked;
      if (reused === undefined) change(1);
      else {
        reused();
        parked.delete(reused);
      }
      await pass(node().deliveryMs);
      if (isDead) return await new Promise(() => undefined);
      hop.taken += 1;
      node().delivered += 1;
      park();
      return envelope.recipients.map(({ index }) => ({
        recipient: index,
        kind: "delivered",
        reply: reply(250, "2.0.0", "Ok"),
        setupMs: 0,
        transferMs: 0,
      }));
    },
    destinationOf: (domain) => domain,
    stats: () => ({ open: own, idle: parked.size }),
    parked: {
      count: () => parked.size + closing,
      async dismiss(_destination, most) {
        const excess = [...parked].slice(0, Math.max(0, parked.size + closing - most));
        await Promise.all(excess.map(goodbye));
      },
    },
    close: () => Promise.resolve(),
  };
  const kill = (): void => {
    change(-own);
    isDead = true;
  };
  return { relay, kill };
}

function cluster({ seed = 1, limit = LIMIT, latencyMs = 1 } = {}) {
  const world = simWorld(seed);
  const hop: Hop = { world, open: 0, most: 0, taken: 0 };
  const ledger = placesLedger(world.clock, latencyMs);
  let made = 0;
  function start(options: Partial<QueueOptions> = {}): Node {
    made += 1;
    const kept = new FakeStorage(world.clock);
    const places = ledger.of(`node-${made}`);
    const { relay, kill } = hopRelay({ world, hop, node: () => node });
    const throttle = { ...THROTTLE, limitStart: limit, limitMax: limit };
    const queue = openQueue(
      { ...OPTIONS, throttle, ...options },
      { storage: Object.assign(kept, { places }), relay, world, emit: openRecorder().emit },
    );
    const node: Node = {
      queue,
      kept,
      delivered: 0,
      deliveryMs: DELIVERY_MS,
      kill() {
        kill();
        places.claim = () => new Promise(() => undefined);
      },
    };
    queue.start();
    return node;
  }
  return { world, hop, ledger, start };
}

/** So many messages more for `to.test`. */
async function send({ queue }: Node, count: number, at: number): Promise<void> {
  for (let sent = 0; sent < count; sent += 1) {
    await queue.enqueue(mail("x@to.test", { receivedAt: at }));
  }
}

describe("a limit that nodes share", () => {
  test("one node alone has it all, and mail that comes alone waits for one question only", async () => {
    const { world, hop, ledger, start } = cluster();
    const node = start();
    await send(node, 1, world.clock.now());
    await world.advance(DELIVERY_MS + 1);
    expect(node.delivered).toBe(1);
    expect(ledger.claims.get("to.test")).toBe(1);
    await send(node, 40, world.clock.now());
    await world.advance(2);
    expect(hop.open).toBe(LIMIT);
    await world.advance((40 / LIMIT + 2) * DELIVERY_MS);
    expect(node.delivered).toBe(41);
    // It is quiet: connections expire, places go back, and nothing is asked any more.
    await world.advance(60 * SECOND);
    expect(hop.open).toBe(0);
    const before = ledger.claims.get("to.test");
    await world.advance(60 * SECOND);
    expect(ledger.claims.get("to.test")).toBe(before);
    expect(hop.most).toBe(LIMIT);
  });

  test("who comes later has its share within a second, and all together never more than the limit", async () => {
    const { world, hop, start } = cluster();
    const first = start();
    await send(first, 200, world.clock.now());
    await world.advance(500);
    expect(hop.open).toBe(LIMIT);
    const [second, third] = [start(), start()];
    await send(second, 200, world.clock.now());
    await send(third, 200, world.clock.now());
    await world.advance(SECOND);
    const before = [first, second, third].map(({ delivered }) => delivered);
    await world.advance(SECOND);
    const gained = [first, second, third].map(
      (node, index) => node.delivered - (before[index] ?? 0),
    );
    // Two places each, twenty deliveries a second on each place.
    for (const each of gained) expect(each).toBeGreaterThanOrEqual(36);
    expect(gained.reduce((sum, each) => sum + each)).toBeGreaterThanOrEqual(115);
    expect(hop.most).toBe(LIMIT);
  });

  test("a node that has nothing to do leaves all of it to the others, connections that wait included", async () => {
    const { world, hop, start } = cluster();
    const [idle, busy] = [start(), start()];
    await send(idle, 30, world.clock.now());
    await world.advance(SECOND);
    expect(idle.delivered).toBe(30);
    expect(hop.open).toBe(LIMIT);
    await send(busy, 200, world.clock.now());
    await world.advance(SECOND);
    const before = busy.delivered;
    await world.advance(SECOND);
    expect(busy.delivered - before).toBeGreaterThanOrEqual(LIMIT * 19);
    expect(hop.most).toBe(LIMIT);
  });

  test("fewer places than nodes go round: each has its turn", async () => {
    const { world, hop, start } = cluster({ limit: 1 });
    const nodes = [start(), start(), start()];
    for (const node of nodes) await send(node, 200, world.clock.now());
    await world.advance(18 * SECOND);
    for (const { delivered } of nodes) expect(delivered).toBeGreaterThanOrEqual(80);
    // One node would have made 20 deliveries a second.
    expect(hop.taken).toBeGreaterThanOrEqual(18 * 20 * 0.9);
    expect(hop.most).toBe(1);
  });

  test("what a killed node had comes back when it expires", async () => {
    const { world, hop, start } = cluster();
    const [dying, heir] = [start(), start()];
    await send(dying, 200, world.clock.now());
    await send(heir, 1, world.clock.now());
    await world.advance(300);
    dying.kill();
    await world.advance(PLACES_TTL_MS - 3 * SECOND);
    await send(heir, 400, world.clock.now());
    await world.advance(PLACES_TTL_MS / 5 + SECOND);
    expect(hop.open).toBe(LIMIT);
    const before = heir.delivered;
    await world.advance(SECOND);
    expect(heir.delivered - before).toBeGreaterThanOrEqual(LIMIT * 18);
    expect(hop.most).toBe(LIMIT);
  });

  test("a node that stops gives its places back at once", async () => {
    const { world, hop, start } = cluster();
    const [leaving, staying] = [start(), start()];
    await send(leaving, 200, world.clock.now());
    await world.advance(300);
    const stopped = leaving.queue.drain(new AbortController().signal);
    await world.advance(DELIVERY_MS + GOODBYE_MS + 5);
    await stopped;
    expect(hop.open).toBe(0);
    await send(staying, 60, world.clock.now());
    await world.advance(5);
    expect(hop.open).toBe(LIMIT);
  });

  test("a node that stops wants nothing any more, also while mail is being written there", async () => {
    const { world, start } = cluster({ limit: 1 });
    const [leaving, staying] = [start(), start()];
    leaving.kept.write = () => new Promise(() => undefined);
    void leaving.queue.enqueue(mail("x@to.test"));
    await world.advance(50);
    const stopped = leaving.queue.drain(new AbortController().signal);
    await world.advance(50);
    await stopped;
    await send(staying, 100, world.clock.now());
    await world.advance(100 * DELIVERY_MS + SECOND);
    expect(staying.delivered).toBe(100);
  });

  test("a node that had to leave deliveries behind asks for no places any more", async () => {
    const { world, ledger, start } = cluster();
    const node = start();
    node.deliveryMs = 100 * SECOND;
    await send(node, LIMIT, world.clock.now());
    await world.advance(SECOND);
    const stopped = node.queue.drain(AbortSignal.abort());
    await world.advance(5 * SECOND);
    await stopped;
    const claims = ledger.claims.get("to.test");
    // Also when they end: by then the store may be closed.
    await world.advance(200 * SECOND);
    expect(ledger.claims.get("to.test")).toBe(claims);
  });

  test("what was given back is not used while the answer is on its way", async () => {
    const { world, hop, ledger, start } = cluster({ latencyMs: 300 });
    const [first, second] = [start(), start()];
    first.deliveryMs = SECOND;
    second.deliveryMs = SECOND;
    await send(first, LIMIT, world.clock.now());
    await world.advance(IDLE_MS);
    expect(hop.open).toBe(LIMIT);
    while (hop.open > 0) await world.advance(10);
    const claims = ledger.claims.get("to.test");
    while (ledger.claims.get("to.test") === claims) await world.advance(10);
    for (const node of [first, second]) await send(node, LIMIT, world.clock.now());
    await world.advance(10 * SECOND);
    expect([first.delivered, second.delivered]).toEqual([2 * LIMIT, LIMIT]);
    expect(hop.most).toBe(LIMIT);
  });

  test("without its store a node goes on with what it has until that ends, and not a moment longer", async () => {
    const { world, hop, ledger, start } = cluster();
    const node = start();
    await send(node, 40, world.clock.now());
    await world.advance(10);
    ledger.fail("before");
    await world.advance(IDLE_MS - 2 * SECOND);
    expect(node.delivered).toBe(40);
    await send(node, LIMIT, world.clock.now());
    await world.advance(DELIVERY_MS + 5);
    expect(node.delivered).toBe(40 + LIMIT);
    await world.advance(PLACES_TTL_MS - IDLE_MS + 2 * SECOND);
    await send(node, 10, world.clock.now());
    await world.advance(5 * SECOND);
    expect(node.delivered).toBe(40 + LIMIT);
    ledger.fail(undefined);
    await world.advance(SECOND);
    expect(node.delivered).toBe(50 + LIMIT);
    expect(hop.most).toBe(LIMIT);
  });

  test("nodes come, go, die and lose answers at random: never more than the limit, and nobody starves", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const { world, hop, ledger, start } = cluster({ seed, latencyMs: 40 });
    let nodes = [start(), start(), start()];
    try {
      for (let round = 0; round < 150; round += 1) {
        for (const node of nodes) {
          if (random() < 0.5) await send(node, Math.floor(random() * 30), world.clock.now());
          node.deliveryMs = 1 + random() * 3 * DELIVERY_MS;
        }
        const fault = random() < 0.5 ? "before" : "after";
        ledger.fail(random() < 0.1 ? fault : undefined);
        const unlucky = random();
        const [first, ...others] = nodes;
        if (unlucky < 0.03) {
          first?.kill();
          nodes = [...others, start()];
        } else if (unlucky < 0.06) {
          void first?.queue.drain(new AbortController().signal);
          nodes = [...others, start()];
        }
        await world.advance(random() * SECOND);
        expect(hop.most).toBeLessThanOrEqual(LIMIT);
      }
      ledger.fail(undefined);
      await world.advance(PLACES_TTL_MS + 60 * SECOND);
      for (const { kept } of nodes) expect(kept.messages.size).toBe(0);
      expect(hop.most).toBe(LIMIT);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  });
});

test("a queue over a store that does not count has the limit for itself", async () => {
  const world = simWorld();
  const hop: Hop = { world, open: 0, most: 0, taken: 0 };
  const queues = [1, 2].map(() => {
    const { relay } = hopRelay({ world, hop, node: () => node });
    const kept = new FakeStorage(world.clock);
    const parts = { storage: kept, relay, world, emit: openRecorder().emit };
    const queue = openQueue({ ...OPTIONS, throttle: THROTTLE }, parts);
    const node: Node = {
      queue,
      kept,
      delivered: 0,
      deliveryMs: DELIVERY_MS,
      kill: () => undefined,
    };
    queue.start();
    return node;
  });
  for (const node of queues) await send(node, 30, world.clock.now());
  await world.advance(10);
  expect(hop.open).toBe(2 * LIMIT);
});
