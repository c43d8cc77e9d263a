import { queueOf } from "../../tests/e2e/help.ts";
import { BINARY, type Daemon, startDaemon } from "../../tests/support/binary.ts";
import { type MailWorld, mailWorld } from "../../tests/support/mail-world.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import { until } from "../../tests/support/until.ts";
import { fillSpool } from "../endurance/backlog.ts";
import { smtpSource } from "./load.ts";
import type { Measures, Setting } from "./measures.ts";
import {
  type Arrivals,
  arrivals,
  type Latencies,
  latencyText,
  pacedLatencies,
  timesLonger,
} from "./paced.ts";

/** Why the messages of a backlog lie in the queue: their time has not come, or it has and nobody takes them. */
export type Lying = "waiting" | "overdue";

const MESSAGES = 100_000;
/** Tried so often that the next wait is the longest. */
const ATTEMPTS = 6;
const RETRY = "1m,5m,15m,30m,30m,30m,1h";
/** Mail that waits is tried again about once an hour, evenly: some of it at every moment. */
const SPREAD_MS = 60 * 60_000;
const WAITING_DOMAINS = 5000;
/** Large destinations that are down, with all their mail due. */
const DOWN_DOMAINS = 20;
const SETTLED_MS = 2000;
const WAIT_MS = 300_000;

const RECIPIENTS: Readonly<Record<Lying, (index: number) => string>> = {
  waiting: (index) => `w${index}@d${index % WAITING_DOMAINS}.defer.test`,
  overdue: (index) => `w${index}@d${index % DOWN_DOMAINS}.down.test`,
};

/**
 * The case for one kind of backlog: what becomes of new mail while a hundred thousand messages stay deferred, in rounds
 * with and without them in turn.
 */
export function deferredBacklog(lying: Lying) {
  return async (setting: Setting): Promise<Measures> => {
    const arrived = arrivals();
    await using world = await mailWorld({
      hosts: {
        timed: { onTaken: arrived.note },
        defer: { whim: (step) => (step === "rcpt" ? "defer" : undefined) },
      },
      down: ["down"],
    });
    await using dir = tempDir("bench", setting.parent);
    await fill(dir.join(lying), lying);
    const rounds: Record<"empty" | "deep", Latencies[]> = { empty: [], deep: [] };
    for (let round = 0; round < setting.runs; round += 1) {
      for (const kind of round % 2 === 0
        ? (["empty", "deep"] as const)
        : (["deep", "empty"] as const)) {
        const isEmpty = kind === "empty";
        const spool = dir.join(isEmpty ? `empty-${round}` : lying);
        const latencies = await measure(setting, spool, world, arrived, isEmpty ? 0 : MESSAGES);
        rounds[kind].push(latencies);
        console.log(`  ${isEmpty ? "empty" : lying}: ${latencyText(latencies)}`);
      }
    }
    return timesLonger(rounds.empty, rounds.deep);
  };
}

async function fill(spool: string, lying: Lying): Promise<void> {
  const startedAt = Date.now();
  await fillSpool(spool, {
    messages: MESSAGES,
    recipient: RECIPIENTS[lying],
    due: (index) => (lying === "waiting" ? startedAt + (index / MESSAGES) * SPREAD_MS : startedAt),
    attempts: ATTEMPTS,
  });
}

/** Starts the server on a spool that stays, and measures new mail. */
async function measure(
  setting: Setting,
  spool: string,
  world: MailWorld,
  arrived: Arrivals,
  lying: number,
): Promise<Latencies> {
  await using daemon = await startDaemon({
    command: [BINARY],
    spool,
    args: [...world.args, ...["--set", "admin.socket=off", "--set", `queue.retry=${RETRY}`]],
    outputFile: `${spool}.log`,
  });
  const warm = { port: daemon.smtpPort, sessions: setting.sessions, bytes: setting.bytes };
  await smtpSource({ ...warm, reuse: true, messages: setting.warmup, to: "warm@timed.test" });
  await until("the backlog alone is left", () => hasOnly(daemon, lying), WAIT_MS);
  await Bun.sleep(SETTLED_MS);
  const latencies = await pacedLatencies({ port: daemon.smtpPort, arrivals: arrived });
  await until("the backlog stays", () => hasOnly(daemon, lying), WAIT_MS);
  return latencies;
}

async function hasOnly(daemon: Daemon, lying: number): Promise<boolean> {
  return (await queueOf(daemon)).size === lying;
}
