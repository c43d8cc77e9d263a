import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { queueOf } from "../../tests/e2e/help.ts";
import type { Daemon } from "../../tests/support/binary.ts";
import { cpuSeconds } from "../benchmark/processes.ts";
import { quantile } from "../benchmark/statistics.ts";
import type { Load } from "./load.ts";

/** Everything that is known of one moment, and of the time since the one before. */
export interface Sample {
  readonly seconds: number;
  /** What was going on besides the mixed load; empty for nothing. */
  readonly phase: string;
  /** MB (10^6 octets): resident, its share of what is shared, and what is no file's. */
  readonly residentMb: number;
  readonly proportionalMb: number;
  readonly anonymousMb: number;
  /** Of one core. */
  readonly cpuPercent: number;
  readonly descriptors: number;
  readonly queued: number;
  readonly incoming: number;
  readonly active: number;
  readonly deferred: number;
  readonly held: number;
  readonly delivering: number;
  /** Connections to next hops. */
  readonly connections: number;
  readonly destinations: number;
  /** In a second: messages stored, recipients relayed, put off and bounced. */
  readonly acceptedRate: number;
  readonly sentRate: number;
  readonly deferredRate: number;
  readonly bouncedRate: number;
  /** Transactions of the load in a second, and milliseconds from final dot to 250; null without any. */
  readonly transactionRate: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly worstMs: number | null;
  readonly walMb: number;
  readonly stateMb: number;
  readonly segments: number;
}

interface Before {
  readonly seconds: number;
  readonly cpu: number;
  readonly transactions: number;
  readonly totals: Totals;
}

type Totals = Readonly<Record<"accepted" | "sent" | "deferred" | "bounced", number>>;

export interface SamplerOptions {
  readonly daemon: Daemon;
  readonly spool: string;
  readonly load: Load;
  /** Seconds since the run began. */
  readonly seconds: () => number;
  readonly phase: () => string;
}

/** Takes one sample after another; rates are those since the one before. */
export async function openSampler(options: SamplerOptions): Promise<() => Promise<Sample>> {
  let before = await standOf(options);
  return async () => {
    const queue = await queueOf(options.daemon);
    const now = await standOf(options);
    const elapsed = now.seconds - before.seconds;
    const rate = (name: keyof Totals) => (now.totals[name] - before.totals[name]) / elapsed;
    const sample: Sample = {
      seconds: now.seconds,
      phase: options.phase(),
      ...memoryOf(options.daemon.pid),
      cpuPercent: ((now.cpu - before.cpu) / elapsed) * 100,
      descriptors: readdirSync(`/proc/${options.daemon.pid}/fd`).length,
      queued: queue.size,
      incoming: queue.states.incoming,
      active: queue.states.active,
      deferred: queue.states.deferred,
      held: queue.states.hold,
      delivering: queue.delivering,
      connections: queue.connections.open,
      destinations: queue.destinations.length,
      acceptedRate: rate("accepted"),
      sentRate: rate("sent"),
      deferredRate: rate("deferred"),
      bouncedRate: rate("bounced"),
      transactionRate: (now.transactions - before.transactions) / elapsed,
      ...latencyOf(options.load.takeLatencies()),
      ...diskOf(options.spool),
    };
    before = now;
    return sample;
  };
}

async function standOf({ daemon, load, seconds }: SamplerOptions): Promise<Before> {
  const text = await (await daemon.admin("/metrics")).text();
  return {
    seconds: seconds(),
    cpu: cpuSeconds(daemon.pid),
    transactions: load.transactions,
    totals: {
      accepted: sum(text, /^slimta_received_total\S* (\S+)$/gmu),
      sent: sum(text, /^slimta_delivery_total\{result="sent"\} (\S+)$/gmu),
      deferred: sum(text, /^slimta_delivery_total\{result="deferred"\} (\S+)$/gmu),
      bounced: sum(text, /^slimta_delivery_total\{result="bounced"\} (\S+)$/gmu),
    },
  };
}

function sum(text: string, series: RegExp): number {
  return [...text.matchAll(series)].reduce((total, [, value]) => total + Number(value), 0);
}

function memoryOf(pid: number) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mb = (name: string) =>
    (Number(new RegExp(`^${name}:\\s+(\\d+)`, "mu").exec(text)?.[1] ?? Number.NaN) * 1024) / 1e6;
  return { residentMb: mb("Rss"), proportionalMb: mb("Pss"), anonymousMb: mb("Anonymous") };
}

function latencyOf(latencies: readonly number[]) {
  const at = (share: number) => (latencies.length === 0 ? null : quantile(latencies, share));
  return { p50Ms: at(0.5), p99Ms: at(0.99), worstMs: at(1) };
}

function diskOf(spool: string) {
  const mb = (name: string) => {
    const path = join(spool, name);
    return existsSync(path) ? statSync(path).size / 1e6 : 0;
  };
  const segments = readdirSync(join(spool, "content"), { recursive: true }).length;
  return { walMb: mb("queue.db-wal"), stateMb: mb("queue.db"), segments };
}
