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
  readonly engine: Engine;
  readonly ledger: Ledger;
  readonly peers: Peers;
  readonly emit: (event: Event) => void;
  readonly trace: (line: string) => void;
}

/** A queue that runs at this moment. */
export interface Running {
  readonly life: Life;
  readonly queue: Queue;
  readonly storage: QueueStorage;
  /** The store itself, for those who only look. */
  readonly raw: QueueStorage;
  readonly faulty: FaultyStorage;
}

/** One machine: a daemon that is started, stopped, killed and started again. */
export class Node {
  readonly #parts: NodeParts;
  readonly #options: QueueOptions;
  #life: Life | undefined;
  #opened: Promise<QueueStorage> | undefined;
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
    const { engine, ledger, peers, world, emit, trace } = this.#parts;
    const tell = (event: Event): void => {
      if (!life.isDead) emit(event);
    };
    const opened = engine.open(life, tell);
    this.#opened = opened;
    const raw = await opened;
    if (life.isDead) return;
    if (engine.isExclusive) ledger.restarted(await this.#everything(raw));
    const isOver = (): boolean => life.isDead && engine.isExclusive;
    const faulty = faultyStorage(watchedStorage(raw, ledger, isOver));
    const storage = heardStorage(faulty.storage, life);
    const queue = openQueue(this.#options, {
      storage,
      relay: peers.relayFor(life),
      world: { clock: life.clock, random: world.random },
      emit: tell,
    });
    this.running = { life, queue, storage, raw, faulty };
    this.startedAt = world.clock.now();
    trace("started");
    queue.start();
  }

  /** The whole store as it is read back, looked at without touching it. */
  async #everything(raw: QueueStorage): Promise<ReadonlyMap<string, StoredMessage>> {
    const { platter } = this.#parts.engine;
    const found = new Map<string, StoredMessage>();
    if (platter) platter.isWatched = true;
    try {
      for await (const { id } of raw.load()) found.set(id, await raw.get(id));
    } finally {
      if (platter) platter.isWatched = false;
    }
    return found;
  }

  /** The process or the whole machine ends at this instant, and comes back later. */
  crash(downMs: number): void {
    const { engine, ledger, peers, world, trace } = this.#parts;
    const life = this.#life;
    if (life === undefined || life.isDead) return;
    trace("crash");
    this.crashes += 1;
    this.lastCrashAt = world.clock.now();
    life.end();
    engine.cut();
    peers.died(life);
    ledger.excuse();
    if (!engine.keepsLeases) ledger.leasesEnded();
    this.running = undefined;
    this.clients.clear();
    this.#stopping = false;
    const buried = engine.bury(this.#opened ?? Promise.reject(new Error("never opened")));
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

  async #drain({ life, queue }: Running, graceMs: number, isHealthy: () => boolean): Promise<void> {
    const { engine, ledger, peers, world, trace } = this.#parts;
    trace("draining");
    const abort = new AbortController();
    const began = world.clock.now();
    life.clock.after(graceMs, () => abort.abort());
    const drained = queue.drain(abort.signal);
    await Promise.allSettled(this.clients);
    await drained;
    if (life.isDead) return;
    trace("drained");
    const tookMs = world.clock.now() - began;
    if (isHealthy() && tookMs > graceMs + DRAIN_SLACK_MS)
      ledger.blame(`P10: the drain took ${tookMs} ms, the grace is ${graceMs}`);
    if (!isHealthy()) ledger.excuse();
    const opened = this.#opened;
    this.running = undefined;
    if (opened) await engine.close(await opened);
    if (life.isDead) return;
    peers.died(life);
    if (!engine.keepsLeases) ledger.leasesEnded();
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
