/** The nodes soak: several nodes on one store under load, killed, stopped and frozen in turn, and the store with them. */
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { queueOf, tail } from "../e2e/help.ts";
import { seededRandom } from "../support/seeded.ts";
import { until } from "../support/until.ts";
import {
  brokenByNodes,
  excusedByOutages,
  extended,
  type NodeBalance,
  nodeBalance,
  type Outage,
} from "./node-ledger.ts";
import { LEASE_MS, type NodeLives, openNodeLives, WINDOW_MS } from "./node-lives.ts";

/** The server that the nodes share, and what can happen to it. */
export interface SoakedServer {
  readonly spool: string;
  crash(): Promise<void>;
  restart(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

export interface NodesSoakOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly durationMs: number;
  readonly server: SoakedServer;
  readonly command: readonly string[];
  /** Told the history as it happens. */
  readonly onNote?: (text: string) => void;
}

export interface NodesSoakReport {
  readonly balance: NodeBalance;
  readonly events: Readonly<Record<string, number>>;
  readonly drainMs: number;
  /** Every promise that was broken, in words; empty is what is hoped for. */
  readonly broken: readonly string[];
  /** For whoever looks for the reason. */
  readonly history: string;
}

interface Stage {
  readonly lives: readonly NodeLives[];
  readonly outages: Outage[];
  readonly server: SoakedServer;
  readonly random: () => number;
}

interface Event {
  readonly name: string;
  run(stage: Stage): Promise<void>;
}

const SESSIONS = 6;
const PACE_MS = 15;
const DRAIN_MS_MAX = 60_000;
/** Shorter than a lease by so much that no renewal comes too late. */
const STORE_AWAY_MS_MAX = 1500;

const EVENTS: readonly Event[] = [
  {
    name: "kill -9 of a node",
    async run(stage) {
      const node = anyOf(stage);
      await node.kill();
      await Bun.sleep(stage.random() * 1000);
      await node.start();
    },
  },
  {
    name: "TERM for a node",
    async run(stage) {
      const node = anyOf(stage);
      await node.stop();
      await node.start();
    },
  },
  {
    name: "kill -9 of the store",
    async run({ server, random, outages }) {
      const from = Date.now() - WINDOW_MS;
      await server.crash();
      await Bun.sleep(random() * STORE_AWAY_MS_MAX);
      await server.restart();
      outages.push({ from, to: Date.now() });
    },
  },
  {
    name: "a frozen store",
    async run({ server, random, outages }) {
      const from = Date.now() - WINDOW_MS;
      server.freeze();
      await Bun.sleep(500 + random() * (STORE_AWAY_MS_MAX - 500));
      server.thaw();
      outages.push({ from, to: Date.now() });
    },
  },
  {
    name: "kill -9 of another node",
    async run(stage) {
      const node = anyOf(stage);
      await node.kill();
      await node.start();
    },
  },
  {
    name: "a node that stands still for longer than its leases",
    async run(stage) {
      const node = anyOf(stage);
      node.freeze();
      await Bun.sleep(LEASE_MS + 1500);
      node.thaw();
    },
  },
];

/**
 * Runs nodes of the product on one store while this or that happens to them, each of the events in turn and then again in an
 * order that the seed decides; then everything is well, the queue drains, and the ledger is balanced.
 */
export async function nodesSoak(options: NodesSoakOptions): Promise<NodesSoakReport> {
  const { server, durationMs } = options;
  const random = seededRandom(options.seed);
  const startedAt = Date.now();
  const notes: string[] = [];
  const note = (text: string): void => {
    notes.push(`${((Date.now() - startedAt) / 1000).toFixed(3)} s  ${text}`);
    options.onNote?.(notes.at(-1) ?? "");
  };
  await using opened = new AsyncDisposableStack();
  const lives: NodeLives[] = [];
  for (let node = 0; node < options.nodes; node += 1) {
    lives.push(opened.use(await openNodeLives(node, server.spool, options.command)));
  }
  await Promise.all(lives.map((each) => each.start()));
  const client = ledgerClient({ paceMs: () => random() * PACE_MS });
  const sending = new AbortController();
  const outages: Outage[] = [];
  let turn = 0;
  const anyPort = (): number | undefined => lives[turn++ % lives.length]?.port();
  try {
    const sent = client.send(anyPort, SESSIONS, sending.signal);
    const events = await happenings(
      { lives, server, random, outages },
      startedAt + durationMs,
      note,
    );
    sending.abort();
    await sent;
    const drainMs = await drain(lives, note);
    for (const each of lives) await each.stop();
    const hops = lives.map(({ hop }) => hop);
    const own = lives.flatMap((each) => each.excuses);
    const excuses = [
      ...own.map((excuse) => extended(excuse, outages)),
      // A renewal is due when a quarter of the lease is over, and waits for the tick behind that.
      ...excusedByOutages(outages, LEASE_MS / 2, lives.length),
    ];
    const acknowledged = [...client.acknowledged.keys()];
    const found = nodeBalance(
      acknowledged,
      hops.map(({ taken }) => taken),
      excuses,
    );
    for (const number of [...found.unexcused, ...found.overlapping].slice(0, 20)) {
      note(`${number}: ${takesOf(number, lives, startedAt)}`);
    }
    const damaged = hops.flatMap((hop) => hop.damaged);
    const broken = [...brokenByNodes(found), ...damaged.map((text) => `arrived changed: ${text}`)];
    return { balance: found, events, drainMs, broken, history: historyOf(options, notes) };
  } catch (cause) {
    throw new Error(`the soak broke off\n${historyOf(options, notes)}\n${said(lives)}`, { cause });
  } finally {
    sending.abort();
  }
}

/** Each event once, then any of them, until the time is over; never two at a time, so that each excuse is one node's. */
async function happenings(
  stage: Stage,
  endAt: number,
  note: (text: string) => void,
): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  for (let count = 0; Date.now() < endAt || count < EVENTS.length; count += 1) {
    const index = count < EVENTS.length ? count : Math.floor(stage.random() * EVENTS.length);
    const event = EVENTS[index];
    if (event === undefined) continue;
    await Bun.sleep(300 + stage.random() * 700);
    note(event.name);
    await event.run(stage);
    note(`over: ${event.name}`);
    counts[event.name] = (counts[event.name] ?? 0) + 1;
  }
  return counts;
}

function anyOf({ lives, random }: Stage): NodeLives {
  const node = lives[Math.floor(random() * lives.length)];
  if (node === undefined) throw new Error("there are nodes");
  return node;
}

/** Waits until nothing is stored any more, as every node says. */
async function drain(lives: readonly NodeLives[], note: (text: string) => void): Promise<number> {
  const startedAt = Date.now();
  const isEmpty = async (): Promise<boolean> => {
    const all = await Promise.all(
      lives.map((each) => queueOf(each.daemon()).catch(() => undefined)),
    );
    return all.every((facts) => facts?.size === 0);
  };
  await until("an empty queue", isEmpty, DRAIN_MS_MAX).catch(async (cause: unknown) => {
    const left = await lives[0]?.daemon().admin("/v1/messages?recipients=true&format=text");
    throw new Error(`the queue does not empty:\n${(await left?.text())?.slice(0, 4000)}`, {
      cause,
    });
  });
  note(`drained in ${Date.now() - startedAt} ms`);
  return Date.now() - startedAt;
}

function takesOf(number: number, lives: readonly NodeLives[], startedAt: number): string {
  return lives
    .flatMap(({ hop }, node) =>
      (hop.taken.get(number) ?? []).map(
        ({ since, at, answered }) =>
          `node ${node} ${since - startedAt} to ${at - startedAt} ms${answered ? "" : ", not heard"}`,
      ),
    )
    .join("; ");
}

function historyOf({ seed }: NodesSoakOptions, notes: readonly string[]): string {
  return [`SLIMTA_QUEUE_SEED=${seed}`, ...notes.slice(-400)].join("\n");
}

function said(lives: readonly NodeLives[]): string {
  return lives
    .map((each, node) => {
      const output = each.port() === undefined ? "" : tail(each.daemon().output(), 10);
      return `node ${node} said at last:\n${output}`;
    })
    .join("\n");
}

/** What a soak was, in a few lines. */
export function nodesSummary({ balance, events, drainMs, broken }: NodesSoakReport): string {
  const counts = Object.entries(events).map(([name, count]) => `${count} × ${name}`);
  return [
    counts.join(", "),
    `${balance.acknowledged} acknowledged, ${balance.delivered} delivered, ${balance.lost.length} lost`,
    `${balance.repeated.length} delivered more than once, ${balance.unexcused.length} of them without an excuse; ${balance.overlapping.length} by two nodes at once`,
    `drained in ${drainMs} ms`,
    ...broken,
  ].join("\n");
}
