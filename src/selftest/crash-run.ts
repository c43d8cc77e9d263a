import { mkdirSync, writeFileSync } from "node:fs";
import type { World } from "../lib/world.ts";
import { SETTLE_WINDOW_MS } from "../storage/disk/journal.ts";
import {
  type Balance,
  type Broken,
  balance,
  brokenPromises,
  excusedMs,
  isSettled,
} from "./balance.ts";
import { type LedgerClient, ledgerClient } from "./ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver } from "./ledger-receiver.ts";
import type { Whim } from "./receiver-session.ts";
import { type SyncWatch, watchSyncs } from "./sync-watch.ts";
import { StartFailed, startVictim, type Victim } from "./victim.ts";

export interface CrashRunOptions {
  /** How this program is run. */
  readonly command: readonly string[];
  /** An empty directory on the volume. */
  readonly dir: string;
  /** For how long it is killed again and again. */
  readonly durationMs: number;
  /** Everything must have come to its end so long after the last start. */
  readonly drainMs: number;
  readonly world: World;
  /** Ends it early. */
  readonly stop: AbortSignal;
}

/** What came of killing it again and again under load. */
export interface CrashReport {
  readonly kills: number;
  /** The longest start after a kill. */
  readonly startMsMax: number;
  /** The slowest sync meanwhile. */
  readonly syncMsMax: number;
  /** A delivery answered less than this before a kill may be repeated. */
  readonly windowMs: number;
  readonly balance: Balance;
  /** Empty when every promise was kept. */
  readonly broken: readonly Broken[];
}

const SESSIONS = 4;
/** How long each life lasts once it is ready. */
const LIFE_MS_MIN = 50;
const LIFE_MS_MAX = 1000;
/** A slow machine is given so long to acknowledge anything: a life without mail proves nothing. */
const LIFE_MS_SLOW = 10_000;
const POLL_MS = 20;
/** What was not settled is delivered again at once after a start. */
const QUIET_MS = 500;

/**
 * Runs a daemon below `dir` under load, kills it with -9 at random moments, starts it again and balances the ledger at the
 * end. Leaves no process behind, also when it throws; files stay in `dir`.
 */
export async function crashRun(options: CrashRunOptions): Promise<CrashReport> {
  const { world } = options;
  const whim = whims(world.random);
  await using receiver = await ledgerReceiver({ atRcpt: whim, atDot: whim, clock: world.clock });
  const client = ledgerClient({
    clock: world.clock,
    recipients: () => (world.random() < 0.2 ? 2 : 1),
  });
  const lives = openLives(options, receiver);
  const watch = await watchSyncs(`${options.dir}/watched`, world.clock);
  const sending = new AbortController();
  const sent = client.send(lives.port, SESSIONS, sending.signal);
  const broken: Broken[] = [];
  try {
    await killAgainAndAgain(lives, client, options);
    sending.abort();
    if (!options.stop.aborted) {
      await sent;
      // What has not come to its end by then is lost.
      await until(() => isSettled(client, [receiver]), options.drainMs, options);
      await killQuietly(lives, watch, options);
      broken.push(...(await lives.end()));
    }
  } catch (error) {
    if (!(error instanceof StartFailed)) throw error;
    broken.push({ promise: "P10", text: `after ${lives.kills.length} kills ${error.message}` });
  } finally {
    sending.abort();
    await lives.kill();
    await sent;
    await watch.stop();
  }
  const { kills, startMsMax } = lives;
  const windowMs = excusedMs(SETTLE_WINDOW_MS, watch.maxMs());
  const crashes = kills.map((kill) => ({ ...kill, windowMs }));
  const found = balance(client, [receiver], crashes);
  return {
    kills: kills.length,
    startMsMax: startMsMax(),
    syncMsMax: watch.maxMs(),
    windowMs,
    balance: found,
    broken: [...broken, ...brokenPromises(found)],
  };
}

/** Most mail is taken; the rest is deferred, rejected, dropped, or taken without a word. */
function whims(random: () => number): () => Whim {
  return () => {
    const roll = random();
    if (roll < 0.04) return "defer";
    if (roll < 0.06) return "reject";
    if (roll < 0.07) return "drop";
    return roll < 0.075 ? "mute" : "take";
  };
}

/** One daemon after another at one spool; there is at most one. */
function openLives({ command, dir, world }: CrashRunOptions, receiver: LedgerReceiver) {
  const spool = `${dir}/spool`;
  const configFile = `${dir}/empty.toml`;
  mkdirSync(spool, { mode: 0o700 });
  writeFileSync(configFile, "", { mode: 0o600 });
  const kills: { readonly from: number; readonly to: number }[] = [];
  let victim: Victim | undefined;
  let startMsMax = 0;
  const start = async (): Promise<void> => {
    const relayPort = receiver.port;
    victim = await startVictim({ command, spool, configFile, relayPort, clock: world.clock });
    startMsMax = Math.max(startMsMax, victim.startMs);
  };
  const kill = async (): Promise<void> => {
    const killed = victim;
    victim = undefined;
    const from = world.clock.now();
    await killed?.kill();
    if (killed !== undefined) kills.push({ from, to: world.clock.now() });
  };
  /** P10: stops it, and looks at what it leaves. */
  const end = async (): Promise<readonly Broken[]> => {
    const ended = victim;
    victim = undefined;
    const code = await ended?.stop();
    if (code !== 0) return [{ promise: "P10", text: `TERM ends it with ${code}` }];
    const flags = ["--config", configFile, "--spool", spool];
    const fsck = Bun.spawnSync([...command, "fsck", ...flags], { env: {} });
    if (fsck.exitCode === 0) return [];
    return [{ promise: "P6", text: `fsck: ${fsck.stdout.toString().trim().slice(-500)}` }];
  };
  const port = () => victim?.port;
  return { kills, start, kill, end, port, startMsMax: () => startMsMax };
}

/** At least once; ends with a daemon that runs. */
async function killAgainAndAgain(
  lives: ReturnType<typeof openLives>,
  client: LedgerClient,
  options: CrashRunOptions,
): Promise<void> {
  const { durationMs, world, stop } = options;
  await lives.start();
  const endAt = world.clock.now() + durationMs;
  do {
    const lifeMs = LIFE_MS_MIN + world.random() * (LIFE_MS_MAX - LIFE_MS_MIN);
    const before = client.acknowledged.size;
    await pause(lifeMs, world, stop);
    await until(() => client.acknowledged.size > before, LIFE_MS_SLOW, options);
    if (stop.aborted) return;
    await lives.kill();
    await lives.start();
  } while (world.clock.now() < endAt);
}

/** Once more when everything is settled long since: what comes again after this was never settled. */
async function killQuietly(
  lives: ReturnType<typeof openLives>,
  watch: SyncWatch,
  { world, stop }: CrashRunOptions,
): Promise<void> {
  await pause(excusedMs(SETTLE_WINDOW_MS, watch.maxMs()), world, stop);
  await lives.kill();
  await lives.start();
  await pause(QUIET_MS, world, stop);
}

/** Waits for something, but not for ever. */
async function until(
  isSo: () => boolean,
  msMax: number,
  { world, stop }: CrashRunOptions,
): Promise<void> {
  const giveUpAt = world.clock.now() + msMax;
  while (!isSo() && world.clock.now() < giveUpAt && !stop.aborted) {
    await pause(POLL_MS, world, stop);
  }
}

/** Waits, unless somebody asks to stop. */
async function pause(ms: number, { clock }: World, stop: AbortSignal): Promise<void> {
  if (stop.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancel = clock.after(ms, resolve);
  const wake = () => resolve();
  stop.addEventListener("abort", wake);
  await promise;
  stop.removeEventListener("abort", wake);
  cancel();
}
