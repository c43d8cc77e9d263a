import { queueOptions } from "../../src/app/queue-options.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { Event } from "../../src/observe/events.ts";
import { openQueue, type Queue, type QueueOptions } from "../../src/queue/queue.ts";
import type { QueueStorage, StoredMessage } from "../../src/storage/storage.ts";
import { type FaultyStorage, faultyStorage } from "../support/faulty-storage.ts";
import type { SimWorld } from "../support/sim-world.ts";
import type { Engine } from "./engine.ts";
import type { Setup } from "./history.ts";
import type { Ledger } from "./ledger.ts";
import { type Life, openLife } from "./life.ts";
import type { Peers } from "./peers.ts";
import { watchedStorage } from "./watched-storage.ts";

/** Small windows, so that their edges are met all the time. */
export const LIMITS = { deliveries: 60, perDestination: 10, window: 100, windowPerDestination: 30 };

/** A start that fails is tried again by whoever looks after the process. */
const RESTART_MS = 5000;

/** What the product's own configuration makes of these settings. */
export function optionsOf({ split }: Setup): QueueOptions {
  const chain = ["date", "message-id", "received", ...(split === "none" ? [] : [`split-${split}`])];
  const settings: Record<string, string> = {
    "smtp.hostname": "queue.test",
    "queue.deliveries_max": String(LIMITS.deliveries),
    "queue.per_destination_max": String(LIMITS.perDestination),
    "queue.window": String(LIMITS.window),
    "queue.window_per_destination": String(LIMITS.windowPerDestination),
    "policy.chain": chain.join(","),
  };
  const flags = Object.entries(settings).map(([path, value]) => ({ name: "--set", path, value }));
  const facts = { uid: 0, home: "/root", hostname: "queue.test" };
  const loaded = loadConfig({ flags, env: {}, facts, readFile: () => undefined });
  if (loaded.kind === "refused") throw new Error("the configuration is refused");
  return queueOptions(loaded.config);
}

export interface NodeParts {
  readonly setup: Setup;
  readonly world: SimWorld;
  /** Of the queue, and of the one that has its notifications when that is another. */
  readonly engines: readonly [Engine, Engine?];
  readonly ledger: Ledger;
  readonly peers: Peers;
  readonly emit: (event: Event) => void;
  readonly trace: (line: string) => void;
}

/** A queue and its store. */
export interface Open {
  readonly queue: Queue;
  readonly storage: QueueStorage;
  /** The store itself, for those who only look. */
  readonly raw: QueueStorage;
  readonly faulty: FaultyStorage;
}

/** A queue that runs at this moment. */
export interface Running extends Open {
  readonly life: Life;
  /** The queue that has its notifications. */
  readonly bounces?: Open;
}

/** One machine: a daemon that is started, stopped, killed and started again. */
export class Node {
  readonly #parts: NodeParts;
  readonly #options: QueueOptions;
  #life: Life | undefined;
  /** For each engine. */
  #opened: readonly Promise<QueueStorage>[] = [];
  #stopping = false;
  running: Running | undefined;
  /** Clients that are being served. */
  readonly clients = new Set<Promise<void>>();
  startedAt = 0;
  lastCrashAt = Number.NEGATIVE_INFINITY;
  starts = 0;
  crashes = 0;
  stops = 0;

  constructor(parts: NodeParts) {
    this.#parts = parts;
    this.#options = optionsOf(parts.setup);
  }

  /** Whether a client would be let in. */
  get isOpen(): boolean {
    const { running } = this;
    if (running === undefined || this.#stopping || running.life.isPaused) return false;
    return running.storage.refusal() === undefined;
  }

  serve(client: Promise<void>): void {
    const served = client.finally(() => this.clients.delete(served));
    this.clients.add(served);
  }

  start(): void {
    if (this.#life !== undefined) return;
    const life = openLife(this.#parts.world.clock);
    this.#life = life;
    this.starts += 1;
    this.#open(life).catch((error: unknown) => {
      if (this.#life !== life || life.isDead) return;
      this.#parts.trace(`start failed ${String(error)}`);
      this.crash(RESTART_MS);
    });
  }

  async #open(life: Life): Promise<void> {
    const { ledger, world, emit, trace } = this.#parts;
    const tell = (event: Event): void => {
      if (!life.isDead) emit(event);
    };
    const opened = this.#engines.map((engine) => engine.open(life, tell));
    this.#opened = opened;
    const [first, second] = await Promise.all(opened);
    if (life.isDead || first === undefined) return;
    if (this.#engine.isExclusive) ledger.restarted(await this.#everything([first, second]));
    const bounces = second && this.#openOver(second, life, tell);
    const main = this.#openOver(first, life, tell, bounces);
    this.running = { life, ...main, ...(bounces && { bounces }) };
    this.startedAt = world.clock.now();
    trace("started");
    bounces?.queue.start();
    main.queue.start();
  }

  get #engines(): readonly Engine[] {
    return this.#parts.engines.filter((engine) => engine !== undefined);
  }

  get #engine(): Engine {
    return this.#parts.engines[0];
  }

  #openOver(raw: QueueStorage, life: Life, emit: (event: Event) => void, bounces?: Open): Open {
    const { ledger, peers, world } = this.#parts;
    const isOver = (): boolean => life.isDead && this.#engine.isExclusive;
    const faulty = faultyStorage(watchedStorage(raw, ledger, isOver));
    const storage = heardStorage(faulty.storage, life);
    const queue = openQueue(this.#options, {
      storage,
      relay: peers.relayFor(life),
      world: { clock: life.clock, random: world.random },
      emit,
      ...(bounces && { bounceQueue: bounces.queue }),
    });
    return { queue, storage, raw, faulty };
  }

  /** All stores as they are read back, looked at without touching them. */
  async #everything(
    stores: readonly (QueueStorage | undefined)[],
  ): Promise<ReadonlyMap<string, StoredMessage>> {
    const found = new Map<string, StoredMessage>();
    for (const { platter } of this.#engines) if (platter) platter.isWatched = true;
    try {
      for (const store of stores)
        for await (const { id } of store?.load() ?? []) found.set(id, (await store?.get(id))!);
    } finally {
      for (const { platter } of this.#engines) if (platter) platter.isWatched = false;
    }
    return found;
  }

  /** The process or the whole machine ends at this instant, and comes back later. */
  crash(downMs: number): void {
    const { ledger, peers, world, trace } = this.#parts;
    const life = this.#life;
    if (life === undefined || life.isDead) return;
    trace("crash");
    this.crashes += 1;
    this.lastCrashAt = world.clock.now();
    life.end();
    for (const engine of this.#engines) engine.cut();
    peers.died(life);
    ledger.excuse();
    if (!this.#engine.keepsLeases) ledger.leasesEnded();
    this.running = undefined;
    this.clients.clear();
    this.#stopping = false;
    const never = (): Promise<never> => Promise.reject(new Error("never opened"));
    const buried = Promise.all(
      this.#engines.map((engine, index) => engine.bury(this.#opened[index] ?? never())),
    );
    world.clock.after(Math.max(1, downMs), () => {
      void buried.then(() => {
        this.#life = undefined;
        this.start();
      });
    });
  }

  /** TERM: what runs may go on for `graceMs`. `isHealthy`: nothing keeps it from ending in time. */
  stop(graceMs: number, downMs: number, isHealthy: () => boolean): void {
    const { running } = this;
    if (running === undefined || this.#stopping) return;
    this.#stopping = true;
    this.stops += 1;
    const life = running.life;
    void this.#drain(running, graceMs, isHealthy).then(() => {
      if (life.isDead) return;
      life.end();
      this.#stopping = false;
      this.#parts.world.clock.after(Math.max(1, downMs), () => {
        this.#life = undefined;
        this.start();
      });
    });
  }

  async #drain(running: Running, graceMs: number, isHealthy: () => boolean): Promise<void> {
    const { life, queue, bounces } = running;
    const { ledger, peers, world, trace } = this.#parts;
    trace("draining");
    const abort = new AbortController();
    const began = world.clock.now();
    life.clock.after(graceMs, () => abort.abort());
    const drained = queue.drain(abort.signal);
    await Promise.allSettled(this.clients);
    await drained;
    await bounces?.queue.drain(abort.signal);
    if (life.isDead) return;
    trace("drained");
    const tookMs = world.clock.now() - began;
    if (isHealthy() && tookMs > graceMs + DRAIN_SLACK_MS)
      ledger.blame(`P10: the drain took ${tookMs} ms, the grace is ${graceMs}`);
    if (!isHealthy()) ledger.excuse();
    this.running = undefined;
    for (const [index, engine] of this.#engines.entries()) {
      const opened = await this.#opened[index];
      if (opened) await engine.close(opened);
    }
    if (life.isDead) return;
    peers.died(life);
    if (!this.#engine.keepsLeases) ledger.leasesEnded();
    trace("stopped");
  }
}

/** Behind the grace: what is broken off still has to be settled. */
const DRAIN_SLACK_MS = 2000;

/** What the dead would hear never comes; what comes to the paused waits. */
function heardStorage(storage: QueueStorage, life: Life): QueueStorage {
  return new Proxy(storage, {
    get(target, property) {
      const method: unknown = Reflect.get(target, property);
      if (typeof method !== "function") return method;
      return (...given: readonly unknown[]) => {
        const result: unknown = method.apply(target, given);
        return result instanceof Promise ? life.heard(result) : result;
      };
    },
  });
}
