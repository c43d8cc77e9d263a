import { dice } from "../support/sim-world.ts";
import type { Command, EngineName, Fault, History, PeerIs, Send, Setup } from "./history.ts";

export interface Wanted {
  readonly seed: number;
  /** How many things happen, each with a pause behind it. */
  readonly steps: number;
  readonly engine: EngineName;
  /** How long all of it takes, before the end in which everything heals. */
  readonly days: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

type Roll = () => number;

const FATES = [
  ..."ok ".repeat(14).trim().split(" "),
  "bad",
  "bad",
  "busy",
  "twice",
  "twice",
  "dice",
  "dice",
];
const SICK: readonly PeerIs[] = [
  "down",
  "down",
  "hung",
  "slow",
  "busy",
  "refusing",
  "drops",
  "lost",
  "throws",
];
const VERBS = ["retry", "hold", "release", "release", "remove", "bounce"] as const;
const FILE_FAULTS =
  "create append syncData syncDirectory rename readAt openForRead unlink openForReuse freeSpace link list".split(
    " ",
  );
const STORAGE_FAULTS = "settle lease release get renew nextDue".split(" ");
const BOUNCE_FAULTS = "write write write settle lease get".split(" ");
const KINDS: readonly Fault["kind"][] = ["ENOSPC", "EIO", "torn", "late", "stall"];
const NOTIFY: readonly Send["notify"][] = ["NEVER", "SUCCESS", "FAILURE", "DELAY"];
/** More would fill all places for deliveries, and then P9 cannot hold. */
const SICK_MAX = 4;
const DOMAINS = 12;
/** In one of so many histories most destinations of a large number are down. */
const CROWD_EVERY = 8;
const CROWD = 400;
/** In one of so many histories notifications have a queue of their own. */
const SEPARATE_EVERY = 3;

/** The history of a seed. */
export function generate({ seed, steps, engine, days }: Wanted): History {
  const roll = dice(Math.imul(seed, 0x9e3779b1) | 1);
  for (let warm = 0; warm < 8; warm += 1) roll();
  const setup: Setup = {
    seed,
    engine,
    nodes: engine === "memory" ? pick(roll, [1, 2]) : 1,
    syncMs: pick(roll, [0, 0, 1, 5]),
    peerMs: pick(roll, [0, 0, 20, 500]),
    split: pick(roll, ["none", "domain", "domain", "recipient"]),
    bounces: seed % SEPARATE_EVERY === 0 ? "separate" : "same",
  };
  const isCrowd = seed % CROWD_EVERY === 0;
  const script = new Script(roll, setup, isCrowd ? CROWD : DOMAINS);
  if (isCrowd) script.crowd();
  for (let step = 0; step < steps; step += 1) {
    script.something();
    script.pass((days * DAY) / steps);
  }
  return { setup, commands: script.commands };
}

class Script {
  readonly commands: Command[] = [];
  readonly #roll: Roll;
  readonly #setup: Setup;
  readonly #domains: number;
  readonly #sick = new Set<string>();
  #sent = 0;

  constructor(roll: Roll, setup: Setup, domains: number) {
    this.#roll = roll;
    this.#setup = setup;
    this.#domains = domains;
  }

  /** Most destinations are down, with mail that waits for each; they are many more than anybody looks at in one go. */
  crowd(): void {
    for (let number = 0; number < this.#domains; number += 1) {
      const domain = `d${number}.test`;
      if (number % 10 === 0) continue;
      this.commands.push({ do: "peer", domain, is: "down", ms: 0 });
    }
    for (let number = 0; number < this.#domains; number += 1) {
      for (let count = 0; count < 6; count += 1) this.#send(`d${number}.test`, 1);
      if (number % 20 === 0) this.commands.push({ do: "advance", ms: 1000 });
    }
  }

  something(): void {
    const roll = this.#roll();
    const { commands } = this;
    if (roll < 0.02) this.#pile();
    else if (roll < 0.62) this.#burst();
    else if (roll < 0.74) this.#peer();
    else if (roll < 0.84) this.#operator();
    else if (roll < 0.92) this.#fault();
    else if (roll < 0.93) commands.push({ do: "heal" });
    else if (roll < 0.945) commands.push({ do: "again", number: this.#recent() });
    else if (roll < 0.975) this.#crash();
    else if (roll < 0.99) this.#stop();
    else
      commands.push({
        do: "pause",
        ms: Math.floor(this.#roll() * 40 * MINUTE),
        node: this.#node(),
      });
  }

  /** Mostly the mean; now and then no time or next to none, and sometimes much. */
  pass(meanMs: number): void {
    const roll = this.#roll();
    if (roll < 0.1) return;
    const ms = roll < 0.3 ? this.#roll() * 60 : -Math.log(1 - this.#roll()) * meanMs * 1.3;
    this.commands.push({ do: "advance", ms: Math.floor(Math.min(ms, DAY)) });
  }

  #burst(): void {
    const count = this.#roll() < 0.9 ? 1 : Math.floor(this.#roll() * 25);
    const domain = this.#domain();
    for (let index = 0; index < count; index += 1) {
      const recipients = this.#roll() < 0.75 ? 1 : 1 + Math.floor(this.#roll() * 5);
      this.#send(domain, recipients);
    }
  }

  /** More mail than a slow destination is trusted with; some of what waits for its turn is held or taken out. */
  #pile(): void {
    const roll = this.#roll;
    const domain = this.#domain();
    this.commands.push({ do: "peer", domain, is: "slow", ms: 5000 });
    for (let count = 0; count < 14; count += 1) this.#send(domain, 1);
    this.commands.push({ do: "advance", ms: 100 });
    for (let back = 0; back < 4; back += 1) {
      const verb = pick(roll, ["hold", "hold", "remove", "bounce"] as const);
      this.commands.push({ do: "verb", verb, number: this.#sent - back });
    }
    this.commands.push({ do: "advance", ms: 30_000 }, { do: "peer", domain, is: "up", ms: 0 });
    this.#sick.delete(domain);
  }

  #send(domain: string, recipients: number): void {
    this.#sent += 1;
    const roll = this.#roll;
    const number = this.#sent;
    const to = Array.from({ length: recipients }, (_, index) => {
      const at = index === 0 || roll() < 0.5 ? domain : this.#domain();
      return `r${number}.${index}.${pick(roll, FATES)}@${at}`;
    });
    this.commands.push({
      do: "send",
      number,
      node: this.#node(),
      from: roll() < 0.08 ? "" : `s${number}@c${Math.floor(roll() * 4)}.test`,
      to,
      notify: roll() < 0.75 ? "none" : pick(roll, NOTIFY),
      size: roll() < 0.9 ? Math.floor(roll() * 300) : Math.floor(roll() * 30_000),
      streamed: roll() < 0.05 ? 1 : 0,
      keyed: roll() < 0.1 ? 1 : 0,
      hops: roll() < 0.01 ? 60 : Math.floor(roll() * 3),
    });
  }

  #peer(): void {
    const roll = this.#roll;
    if (this.#sick.size >= SICK_MAX || (this.#sick.size > 0 && roll() < 0.4)) {
      const domain = pick(roll, [...this.#sick]);
      this.#sick.delete(domain);
      this.commands.push({ do: "peer", domain, is: "up", ms: 0 });
      return;
    }
    const domain = roll() < 0.15 ? `c${Math.floor(roll() * 4)}.test` : this.#domain();
    this.#sick.add(domain);
    this.commands.push({
      do: "peer",
      domain,
      is: pick(roll, SICK),
      ms: Math.floor(roll() * 5 * MINUTE),
    });
  }

  #operator(): void {
    const roll = this.#roll();
    if (roll < 0.12) this.commands.push({ do: "flush" });
    else if (roll < 0.2) {
      const verb = pick(this.#roll, ["retry", "hold", "release", "release", "bounce"] as const);
      this.commands.push({ do: "each", verb, domain: this.#roll() < 0.8 ? this.#domain() : "" });
    } else
      this.commands.push({ do: "verb", verb: pick(this.#roll, VERBS), number: this.#recent() });
  }

  #fault(): void {
    const roll = this.#roll;
    const isFile = this.#setup.engine === "disk" && roll() < 0.8;
    const isOfBounces = this.#setup.bounces === "separate" && roll() < 0.5;
    let on = `storage.${pick(roll, STORAGE_FAULTS)}`;
    if (isFile) on = `files.${pick(roll, FILE_FAULTS)}`;
    if (isOfBounces) on = `bounces.${pick(roll, BOUNCE_FAULTS)}`;
    const kind = pick(roll, KINDS);
    const times = roll() < 0.7 ? 1 : Math.floor(roll() * 6) + 1;
    // Whoever cannot renew its leases for as long as they last loses them, in the middle of a delivery, too.
    const mostMs = (on === "storage.renew" ? 3 : 20) * MINUTE;
    const ms = kind === "stall" ? Math.floor(roll() ** 3 * mostMs) : 0;
    this.commands.push({ do: "fault", on, kind, times, ms });
  }

  #crash(): void {
    const roll = this.#roll;
    const after = roll() < 0.3 ? 0 : Math.floor(roll() * 30);
    const downMs = Math.floor(roll() * (roll() < 0.8 ? 10_000 : HOUR));
    this.commands.push({ do: "crash", after, downMs, node: this.#node() });
    // The disk is sick when it comes back.
    if (this.#setup.engine === "disk" && roll() < 0.2)
      this.commands.push({
        do: "fault",
        on: "files.readAt",
        kind: pick(roll, KINDS),
        times: 1 + Math.floor(roll() * 3),
        ms: 1000,
      });
    // The next one hits the start.
    if (roll() < 0.3)
      this.commands.push(
        { do: "advance", ms: 0 },
        { do: "crash", after: 1 + Math.floor(roll() * 20), downMs, node: 0 },
      );
  }

  #stop(): void {
    const roll = this.#roll;
    const graceMs = pick(roll, [0, 1000, 30_000]);
    this.commands.push({
      do: "stop",
      graceMs,
      downMs: Math.floor(roll() * HOUR),
      node: this.#node(),
    });
  }

  #recent(): number {
    return Math.max(1, this.#sent - Math.floor(this.#roll() ** 3 * 60));
  }

  #domain(): string {
    return `d${Math.floor(this.#roll() * this.#domains)}.test`;
  }

  #node(): number {
    return Math.floor(this.#roll() * this.#setup.nodes);
  }
}

function pick<T>(roll: Roll, of: readonly T[]): T {
  return of[Math.floor(roll() * of.length)]!;
}
