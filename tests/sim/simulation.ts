import type { Envelope } from "../../src/mail/envelope.ts";
import type { Event } from "../../src/observe/events.ts";
import type { QueueStatus } from "../../src/queue/control.ts";
import { SETTLING_MAX } from "../../src/queue/runner.ts";
import type { MessageSummary } from "../../src/storage/storage.ts";
import type { Operation } from "../support/faulty-storage.ts";
import { dice, type SimWorld, simWorld } from "../support/sim-world.ts";
import { type ClientCounts, Clients } from "./clients.ts";
import type { LedgerCounts } from "./counts.ts";
import { type Engine, openEngine } from "./engine.ts";
import { type Command, type Fault, formatLine, type History } from "./history.ts";
import { Ledger } from "./ledger.ts";
import { LIMITS, Node } from "./node.ts";
import { Peers } from "./peers.ts";
import { rowsOf } from "./rows.ts";
import { Trail } from "./trail.ts";

export interface Result {
  /** What was wrong, or nothing. */
  readonly violation?: string;
  /** What was done up to there. */
  readonly steps: number;
  /** The latest of what happened. */
  readonly tail: readonly string[];
  /** Of everything that happened, in its order: the same for the same history. */
  readonly digest: string;
  readonly days: number;
  readonly counts: LedgerCounts & ClientCounts & Counts;
}

interface Counts {
  crashes: number;
  stops: number;
  starts: number;
  fileOperations: number;
  events: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const MAY_FAIL = ["write", "settle", "lease", "release", "get", "renew", "nextDue"] as const;
/** Commands between two looks at the whole store. */
const LOOK_EVERY = 8;
/** P9: mail for a healthy, idle destination is tried so soon after it is due. */
const PROMPT_MS = MINUTE;
/** A suspension lasts no longer; whoever was in trouble may have to wait for its end. */
const SUSPENSION_MS = 10 * MINUTE;
const SETTLED_MS = 5 * MINUTE;
const LEASE_MS = 6 * MINUTE;
/** Everything that is healed is over by then: five days of a lifetime, one of a bounce's, and room. */
const END_DAYS = 8;

/** Runs one history, from its first command to the end of all mail. Never throws because of the product. */
export async function simulate(history: History): Promise<Result> {
  const world = simWorld(history.setup.seed);
  const { setup } = history;
  await using engine = openEngine(setup, world, dice(setup.seed ^ 0x5eed));
  await using bounces =
    setup.bounces === "separate" ? openEngine(setup, world, dice(setup.seed ^ 0xb0ce)) : undefined;
  const simulation = new Simulation(history, world, bounces ? [engine, bounces] : [engine]);
  return await simulation.run();
}

class Simulation {
  readonly #history: History;
  readonly #world: SimWorld;
  readonly #engine: Engine;
  readonly #ledger: Ledger;
  readonly #peers: Peers;
  readonly #nodes: readonly Node[];
  readonly #clients: Clients;
  readonly #trail = new Trail(() => this.#now());
  readonly #counts: Counts = {
    crashes: 0,
    stops: 0,
    starts: 0,
    fileOperations: 0,
    events: 0,
  };
  #sickAt = Number.NEGATIVE_INFINITY;
  /** When something was leased last whose answer was lost: nobody knows of that until the lease ends. */
  #leaseLostAt = Number.NEGATIVE_INFINITY;
  #storageFaults = 0;
  #steps = 0;

  constructor(history: History, world: SimWorld, engines: readonly [Engine, Engine?]) {
    this.#history = history;
    this.#world = world;
    this.#engine = engines[0];
    const { setup } = history;
    this.#ledger = new Ledger(() => this.#now(), setup.bounces === "separate");
    const trace = (line: string): void => this.#trace(line);
    this.#peers = new Peers({
      world,
      ledger: this.#ledger,
      seed: setup.seed,
      peerMs: setup.peerMs,
      trace,
    });
    const emit = (event: Event): void => this.#heard(event);
    this.#clients = new Clients({ clock: world.clock, ledger: this.#ledger, trace });
    const parts = { setup, world, engines, ledger: this.#ledger, peers: this.#peers, emit, trace };
    this.#nodes = Array.from({ length: setup.nodes }, () => new Node(parts));
  }

  async run(): Promise<Result> {
    const began = this.#now();
    for (const node of this.#nodes) node.start();
    await this.#advance(1000);
    for (const command of this.#history.commands) {
      if (this.#isWrong()) break;
      this.#steps += 1;
      this.#trace(formatLine(command));
      await this.#perform(command);
      if (this.#steps % LOOK_EVERY === 0) await this.#look();
    }
    if (!this.#isWrong()) await this.#end();
    return this.#result((this.#now() - began) / DAY);
  }

  #result(days: number): Result {
    const { violation, counts } = this.#ledger;
    for (const { crashes, stops, starts } of this.#nodes) {
      this.#counts.crashes += crashes;
      this.#counts.stops += stops;
      this.#counts.starts += starts;
    }
    this.#counts.fileOperations = this.#engine.platter?.operations ?? 0;
    return {
      ...(violation && { violation }),
      steps: this.#steps,
      tail: this.#trail.latest(),
      digest: this.#trail.digest(),
      days,
      counts: { ...counts, ...this.#clients.counts(), ...this.#counts },
    };
  }

  #now(): number {
    return this.#world.clock.now();
  }

  #isWrong(): boolean {
    return this.#ledger.violation !== undefined;
  }

  #trace(line: string): void {
    this.#trail.note(line);
  }

  #heard(event: Event): void {
    this.#counts.events += 1;
    const line = JSON.stringify(event);
    this.#trace(line.length > 400 ? line.slice(0, 400) : line);
    if (event.kind === "corrupt")
      this.#ledger.blame(`P6: ${event.subject} is damaged: ${event.reason}`);
    if (
      event.kind === "lifecycle" &&
      event.what === "error" &&
      !event.text.includes("a relay with a defect")
    ) {
      this.#ledger.blame(event.text);
    }
  }

  async #perform(command: Command): Promise<void> {
    switch (command.do) {
      case "advance":
        return await this.#advance(command.ms);
      case "send":
        return this.#clients.send(command, this.#node(command.node));
      case "again":
        return this.#clients.again(command.number, this.#node(command.number));
      case "peer":
        return this.#peers.set(command.domain, command.is, command.ms);
      case "fault":
        return this.#fault(command);
      case "heal":
        return this.#heal();
      case "crash":
        return this.#crash(command.node, command.after, command.downMs);
      case "stop":
        return this.#node(command.node).stop(command.graceMs, command.downMs, () =>
          this.#isHealthy(),
        );
      case "pause":
        return this.#pause(command.node, command.ms);
      default:
        return this.#operate(command);
    }
  }

  /** Moves time in pieces, so that what is wrong is seen near to where it went wrong. */
  async #advance(ms: number): Promise<void> {
    const until = this.#now() + ms;
    while (this.#now() < until && !this.#isWrong()) {
      await this.#world.advance(Math.min(HOUR, until - this.#now()));
      if (this.#isSick()) this.#noteSick(this.#now());
    }
    await this.#world.settle();
    this.#checkLimits();
  }

  #node(number: number): Node {
    return this.#nodes[number % this.#nodes.length]!;
  }

  #operate(command: Extract<Command, { do: "verb" | "each" | "flush" }>): void {
    const control = this.#nodes.find(({ running }) => running && !running.life.isPaused)?.running
      ?.queue.control;
    if (control === undefined) return;
    const failed = (error: unknown): void => {
      this.#trace(`operator: ${String(error)}`);
      this.#ledger.notices?.excuse();
    };
    if (command.do === "flush") control.flush().catch(failed);
    else if (command.do === "each") {
      control
        .each(command.verb, command.domain === "" ? {} : { domain: command.domain })
        .catch(failed);
    } else {
      for (const id of this.#clients.idsOf(command.number)) control[command.verb](id).catch(failed);
    }
  }

  #fault({ on, kind, times, ms }: Fault): void {
    this.#noteSick(this.#now() + ms);
    const [where, operation = ""] = on.split(".");
    if (where === "files") {
      this.#engine.platter?.faults.push({ operation, kind, times, ms });
      return;
    }
    for (const { running } of this.#nodes) {
      const faulty = where === "bounces" ? running?.bounces?.faulty : running?.faulty;
      if (running === undefined || faulty === undefined) continue;
      const name = operation as Operation;
      if (kind === "stall") {
        const goOn = faulty.stall(name);
        running.life.clock.after(ms, goOn);
        continue;
      }
      let left = times;
      this.#storageFaults += 1;
      const isNext = (): boolean => {
        left -= 1;
        if (left === 0) this.#storageFaults -= 1;
        if (left >= 0 && operation === "lease" && kind === "late") this.#leaseLostAt = this.#now();
        return left >= 0;
      };
      const error = Object.assign(new Error(`${kind}: as told`), { code: kind });
      const isDoubtful = (first: unknown): boolean => {
        if (on === "bounces.write") this.#ledger.notices?.doubt(first as Envelope[]);
        return isNext();
      };
      if (kind === "late") faulty.failAfter(name, error, isDoubtful);
      else faulty.fail(name, error, isNext);
    }
  }

  #heal(): void {
    if (this.#engine.platter) this.#engine.platter.faults.length = 0;
    for (const { running } of this.#nodes) {
      for (const name of MAY_FAIL) {
        running?.faulty.heal(name);
        running?.bounces?.faulty.heal(name);
      }
    }
    this.#storageFaults = 0;
  }

  #crash(number: number, after: number, downMs: number): void {
    const node = this.#node(number);
    const { platter } = this.#engine;
    if (platter === undefined || after === 0) node.crash(downMs);
    else platter.crashAfter(after, () => node.crash(downMs));
  }

  #pause(number: number, ms: number): void {
    const { running } = this.#node(number);
    if (running === undefined || running.life.isPaused) return;
    this.#ledger.excuse();
    this.#noteSick(this.#now() + ms);
    this.#world.clock.after(ms, () => this.#ledger.notices?.excuse());
    running.life.pause(ms);
  }

  /** Something is ill until then; another illness that ends earlier does not end this one. */
  #noteSick(until: number): void {
    this.#sickAt = Math.max(this.#sickAt, until);
  }

  #isSick(): boolean {
    return (this.#engine.platter?.faults.length ?? 0) > 0 || this.#storageFaults > 0;
  }

  #isHealthy(): boolean {
    const sickAt = Math.max(this.#sickAt, this.#engine.platter?.stalledUntil ?? 0);
    return !this.#isSick() && this.#now() - sickAt > SETTLED_MS;
  }

  /** P8. */
  #checkLimits(): void {
    const { mostUnderWay, mostForOne } = this.#peers;
    const queues = this.#nodes.length * (this.#history.setup.bounces === "separate" ? 2 : 1);
    const most = LIMITS.deliveries * queues;
    if (mostUnderWay > most) this.#ledger.blame(`P8: ${mostUnderWay} deliveries at once`);
    const mostOfOne = LIMITS.perDestination * queues;
    if (mostForOne > mostOfOne)
      this.#ledger.blame(`P8: ${mostForOne} deliveries to one peer at once`);
  }

  /** Looks at the whole store, and compares it with what everybody knows. */
  async #look(): Promise<void> {
    await this.#world.settle();
    for (const node of this.#nodes) {
      const { running } = node;
      if (running === undefined || running.life.isDead || running.life.isPaused || this.#isWrong())
        continue;
      const rows = new Map<string, MessageSummary>();
      for (const { raw, queue } of [running, ...(running.bounces ? [running.bounces] : [])]) {
        const before = rows.size;
        for await (const row of rowsOf(raw)) rows.set(row.id, row);
        const { size } = await raw.getInfo();
        if (size !== rows.size - before)
          this.#ledger.blame(`the store counts ${size} of ${rows.size - before} messages`);
        // It may have to wait, for a store that is ill.
        queue.control.status().then(
          (status) => this.#checkStatus(status),
          () => undefined,
        );
      }
      this.#ledger.compare(rows);
      if (this.#isHealthy()) for (const row of rows.values()) this.#checkPrompt(row);
    }
  }

  #checkStatus({ waiting, states }: QueueStatus): void {
    const { deliveries, window } = LIMITS;
    if (waiting > window) this.#ledger.blame(`P8: ${waiting} messages in the window`);
    const holders = this.#nodes.length * (this.#engine.keepsLeases ? 2 : 1);
    // Behind a disk that is ill deliveries go on, and wait to be settled.
    const settling = this.#isHealthy() ? 0 : SETTLING_MAX;
    if (states.active > (window + deliveries + settling) * holders) {
      this.#ledger.blame(`P8: ${states.active} messages are leased`);
    }
  }

  /** P9, and nothing is stuck: what is due is tried soon, unless its own destination is in trouble. */
  #checkPrompt({ id, state, due, domain }: MessageSummary): void {
    const message = this.#ledger.messages.get(id);
    if (message === undefined || state === "hold") return;
    const now = this.#now();
    const wellSince = this.#peers.wellSince(domain);
    if (wellSince === undefined || now - wellSince < SUSPENSION_MS + PROMPT_MS) return;
    if (this.#peers.underWay >= LIMITS.deliveries || this.#peers.underWayFor(domain) > 0) return;
    const leaseMs = this.#engine.keepsLeases ? LEASE_MS : 0;
    // Without all of them nobody may know of what another one has stored.
    const isSettled = this.#nodes.every(
      ({ running, startedAt, lastCrashAt }) =>
        running && now - startedAt > SETTLED_MS && now - lastCrashAt > SETTLED_MS + leaseMs,
    );
    if (!isSettled) return;
    if (now - this.#leaseLostAt < LEASE_MS + SETTLED_MS) return;
    const idle = now - (state === "active" ? message.touchedAt : Math.max(due, message.touchedAt));
    if (idle > PROMPT_MS && message.intents.size === 0 && message.underWay === 0) {
      this.#ledger.blame(`P9: ${id} for ${domain} is ${state} and was left alone for ${idle} ms`);
    }
  }

  /** Heals the world and waits until somebody is there to be told; then every message comes to its end. */
  async #end(): Promise<void> {
    this.#trace("the end begins");
    this.#heal();
    this.#peers.heal();
    do await this.#advance(30 * MINUTE);
    while (!(this.#isWrong() || this.#nodes.some(({ running }) => running)));
    this.#operate({ do: "each", verb: "release", domain: "" });
    for (let quarter = 0; quarter < END_DAYS * 4 && !this.#isWrong(); quarter += 1) {
      await this.#advance(DAY / 4);
      await this.#look();
      if (this.#ledger.messages.size === 0) break;
    }
    if (this.#isWrong()) return;
    for (const message of this.#ledger.messages.values()) {
      if (message.state === "stored") this.#ledger.blame(`${message.id} has come to no end`);
    }
    await this.#endInPeace();
  }

  /** P10, and nothing is left open. */
  async #endInPeace(): Promise<void> {
    for (const node of this.#nodes) node.stop(1000, 10 * DAY, () => this.#isHealthy());
    await this.#advance(MINUTE);
    const open = this.#engine.platter?.openFiles ?? 0;
    if (open > 0) this.#ledger.blame(`P8: ${open} files are open after the end`);
    if (this.#nodes.some(({ running }) => running !== undefined))
      this.#ledger.blame("P10: the queue does not stop");
  }
}
