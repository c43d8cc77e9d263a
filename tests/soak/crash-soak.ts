/** The crash soak: the executable under load, with everything that can happen to it, until the ledger is balanced. */
import { realWorld } from "../../src/lib/world.ts";
import { type Balance, balance, brokenPromises } from "../../src/selftest/balance.ts";
import { type LedgerClient, ledgerClient } from "../../src/selftest/ledger-client.ts";
import { watchSyncs } from "../../src/selftest/sync-watch.ts";
import { queueOf, tail } from "../e2e/help.ts";
import { runProduct } from "../support/binary.ts";
import { hasPeer } from "../support/peers.ts";
import { seededRandom } from "../support/seeded.ts";
import { type DiskKind, type SmallDisk, smallDisk, whyNoDisk } from "../support/small-disk.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { happenings } from "./events.ts";
import { HOME_DOMAIN, type Hops, LEDGER_DOMAINS, openHops } from "./hops.ts";
import { type Lives, openLives } from "./lives.ts";
import { RUN_MESSAGES, startLoad } from "./load.ts";

export interface SoakOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly disk: DiskKind;
  /** Told the history as it happens. */
  readonly onNote?: (text: string) => void;
}

/** How a soak ended. */
export interface SoakReport {
  readonly balance: Balance;
  readonly events: number;
  /** Ends that may excuse a repeated delivery. */
  readonly crashes: number;
  /** The oldest repeated delivery, seen from the crash after it. */
  readonly oldestRepeatMs: number;
  readonly tried: number;
  /** Runs of smtp-source of which every message was acknowledged, and how many of those messages never came. */
  readonly load: { readonly completed: number; readonly missing: number };
  readonly memoryMaxBytes: number;
  readonly slowestSyncMs: number;
  readonly drainMs: number;
  /** What `slimta-queue fsck` said of the spool that was left. */
  readonly fsck: string;
  /** Every promise that was broken, in words; empty is what is hoped for. */
  readonly broken: readonly string[];
  /** For whoever looks for the reason. */
  readonly history: string;
}

const DISK_MIB = 64;
const SESSIONS = 5;
const DRAIN_MS_MAX = 60_000;
/** P8: however much is queued; an idle daemon has a quarter of it. */
const MEMORY_BYTES_MAX = 400 * 1024 * 1024;

/**
 * Runs the executable under load while it is killed, stopped, its disk full and its next hops dead or hung; then everything
 * is healed, the queue drains, and the ledger is balanced. The seed decides what happens in which order; when exactly it
 * meets the mail is up to the machine.
 */
export async function crashSoak(options: SoakOptions): Promise<SoakReport> {
  const random = seededRandom(options.seed);
  const startedAt = Date.now();
  const notes: string[] = [];
  const note = (text: string) => {
    notes.push(`${((Date.now() - startedAt) / 1000).toFixed(3)} s  ${text}`);
    options.onNote?.(notes.at(-1) ?? "");
  };
  await using dir = tempDir("soak");
  const noDisk = whyNoDisk(options.disk);
  await using small = noDisk === undefined ? smallDisk(dir, DISK_MIB, options.disk) : undefined;
  const disk = small === undefined ? undefined : watched(small);
  note(noDisk ?? `a disk of ${DISK_MIB} MiB (${options.disk})`);
  const spool = disk?.spool ?? dir.join("spool");
  await using hops = await openHops(random);
  const makeRoom = () => {
    note("no start on so full a disk: making room");
    disk?.free();
  };
  const watch = await watchSyncs(`${disk?.path ?? dir.path}/watched`, realWorld.clock);
  await using lives = await openLives({
    spool,
    hopPort: hops.port,
    makeRoom,
    refusedMs: () => disk?.refusedMs() ?? 0,
    slowestSyncMs: watch.maxMs,
  });
  const client = soakClient(random);
  const sending = new AbortController();
  const over = AbortSignal.timeout(options.durationMs);
  try {
    await lives.start();
    const sent = client.send(lives.port, SESSIONS, sending.signal);
    const load = startLoad(hasPeer("smtp-source") ? lives.port : () => undefined, sending.signal);
    const events = await happenings({ lives, hops, disk, random, note }, over);
    sending.abort();
    await Promise.all([sent, load.ended]);
    note("healing");
    disk?.free();
    await hops.heal();
    const drainMs = await drain(lives);
    note(`drained in ${drainMs} ms`);
    const memoryMaxBytes = lives.memoryMax();
    await lives.stop();
    const fsck = await runProduct(["fsck", "--spool", spool]);
    const found = balance(client, [...hops.ledger, hops.home], lives.crashes);
    const missing = missingLoad(hops, load.completed);
    for (const { number, at, beforeCrashMs } of found.repeats.filter(({ excused }) => !excused)) {
      note(`${number} was answered ${beforeCrashMs} ms before a crash, at ${at - startedAt} ms`);
    }
    const repeats = found.repeats.map(({ beforeCrashMs }) => beforeCrashMs);
    const facts = { found, missing, memoryMaxBytes, fsck };
    return {
      balance: found,
      events,
      crashes: lives.crashes.length,
      oldestRepeatMs: Math.max(0, ...repeats),
      tried: client.tried(),
      load: { completed: load.completed.length, missing },
      memoryMaxBytes,
      slowestSyncMs: watch.maxMs(),
      drainMs,
      fsck: fsck.output.trim(),
      broken: brokenOf(facts),
      history: historyOf(options, notes, lives),
    };
  } catch (cause) {
    throw new Error(`the soak broke off\n${historyOf(options, notes, lives)}`, { cause });
  } finally {
    sending.abort();
    await watch.stop();
  }
}

/** After room was made the storage tries again within so long. */
const RECOVERY_MS = 1500;

/** A disk that knows how long it has been full. */
function watched(disk: SmallDisk) {
  let fullSince = 0;
  let roomSince = Number.NEGATIVE_INFINITY;
  return {
    ...disk,
    fill(leaveBytes?: number) {
      if (Date.now() - roomSince > RECOVERY_MS) fullSince = Date.now();
      roomSince = Number.POSITIVE_INFINITY;
      disk.fill(leaveBytes);
    },
    free() {
      disk.free();
      roomSince = Date.now();
    },
    refusedMs() {
      return Date.now() - roomSince > RECOVERY_MS ? 0 : Date.now() - fullSince;
    },
  };
}

/** Small and large messages for one to three recipients at different hosts. */
function soakClient(random: () => number): LedgerClient {
  const sizes = () => {
    const roll = random();
    if (roll < 0.01) return 400_000;
    return roll < 0.06 ? random() * 60_000 : random() * 2000;
  };
  return ledgerClient({
    recipients: () => (random() < 0.2 ? 2 + Math.floor(random() * 2) : 1),
    address: (number) => `${number}@${LEDGER_DOMAINS[number % LEDGER_DOMAINS.length]}`,
    senderDomain: HOME_DOMAIN,
    body: (number) => `.message ${number}\r\n`.repeat(Math.ceil(sizes() / 16)),
    paceMs: () => random() * 40,
  });
}

/** Asks again and again to try everything now, until nothing is stored any more. */
async function drain(lives: Lives): Promise<number> {
  const startedAt = Date.now();
  const daemon = lives.daemon();
  const isEmpty = async () => {
    for (const path of ["/v1/messages/release?all=true", "/v1/flush"]) {
      await (await daemon.admin(path, { method: "POST" })).body?.cancel();
    }
    await Bun.sleep(100);
    return (await queueOf(daemon).catch(() => undefined))?.size === 0;
  };
  await until("an empty queue", isEmpty, DRAIN_MS_MAX).catch(async (cause: unknown) => {
    const left = await (await daemon.admin("/v1/messages?recipients=true&format=text")).text();
    throw new Error(`the queue does not empty:\n${left.slice(0, 4000)}`, { cause });
  });
  return Date.now() - startedAt;
}

/** P1: messages of complete runs that did not come; duplicates only hide them, so this is a lower bound. */
function missingLoad({ load }: Hops, completed: readonly number[]): number {
  return completed
    .map((run) => Math.max(0, RUN_MESSAGES - (load.taken.get(run)?.length ?? 0)))
    .reduce((sum, missing) => sum + missing, 0);
}

function brokenOf(facts: {
  readonly found: Balance;
  readonly missing: number;
  readonly memoryMaxBytes: number;
  readonly fsck: { readonly code: number; readonly output: string };
}): readonly string[] {
  const { found, missing, memoryMaxBytes, fsck } = facts;
  // Files that wait to be reused are left over; the next start takes or sweeps them.
  const isClean =
    fsck.code === 0 && /^0 messages in \d+ segments: (?:clean|0 damaged)/mu.test(fsck.output);
  return [
    ...brokenPromises(found).map(({ promise, text }) => `${promise}: ${text}`),
    ...(missing === 0 ? [] : [`P1: ${missing} messages of smtp-source are lost`]),
    ...(memoryMaxBytes < MEMORY_BYTES_MAX ? [] : [`P8: ${memoryMaxBytes} bytes of memory`]),
    ...(isClean ? [] : [`P6: fsck ended with ${fsck.code}: ${fsck.output}`]),
  ];
}

function historyOf({ seed }: SoakOptions, notes: readonly string[], lives: Lives): string {
  return [
    `SLIMTA_QUEUE_SEED=${seed}`,
    "the last that the daemon said:",
    tail(lives.output(), 20),
    "what happened:",
    ...notes.slice(-400),
  ].join("\n");
}

/** What a soak was, in a few lines. */
export function soakSummary(report: SoakReport): string {
  const { balance: found, load, memoryMaxBytes } = report;
  return [
    `${report.events} events, ${report.crashes} crashes; ${report.tried} tried, ${found.acknowledged} acknowledged`,
    `${found.delivered} delivered, ${found.bounced} bounced, ${found.lost.length} lost`,
    `${found.repeats.length} repeated, the oldest ${report.oldestRepeatMs} ms before a crash; slowest sync ${report.slowestSyncMs} ms`,
    `${load.completed} runs of smtp-source with ${RUN_MESSAGES} messages, ${load.missing} lost`,
    `drained in ${report.drainMs} ms; at most ${Math.round(memoryMaxBytes / 2 ** 20)} MiB; fsck: ${report.fsck}`,
    ...report.broken,
  ].join("\n");
}
