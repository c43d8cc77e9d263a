import { peakMb } from "../../scripts/benchmark/processes.ts";
import { type Crash, excusedMs } from "../../src/selftest/balance.ts";
import { QUICK, tail } from "../e2e/help.ts";
import { binaryCommand, type Daemon, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";

/** One daemon after another at one spool. */
export interface Lives extends AsyncDisposable {
  /** Where the daemon takes mail; `undefined` while there is none. */
  readonly port: () => number | undefined;
  /** The one that runs; throws while there is none. */
  readonly daemon: () => Daemon;
  readonly isUp: () => boolean;
  /** Every end that may excuse a repeated delivery. */
  readonly crashes: readonly Crash[];
  start(): Promise<void>;
  kill(): Promise<void>;
  /** TERM; throws unless it ends with 0. Gives how long it took. */
  stop(): Promise<number>;
  /** The most memory that any of them had, in bytes. */
  memoryMax(): number;
  /** The last words of the latest. */
  output(): string;
}

/** What P5 says; not the storage's constant, so that raising that fails. */
const SETTLE_WINDOW_MS = 20;
/** After TERM deliveries are broken off after so long. */
const GRACE_MS = 1500;

export interface LivesOptions {
  readonly spool: string;
  readonly hopPort: number;
  /** The disk is so full that not even a start is possible: somebody has to make room. */
  readonly makeRoom: () => void;
  /** How long the disk has refused settlements; 0 when it does not. */
  readonly refusedMs: () => number;
  readonly slowestSyncMs: () => number;
}

/** A daemon that was killed on a full disk has no reserve any more: it may refuse to start, saying so. */
const NO_ROOM = /serve ended with 74:.*(?:SQLITE_FULL|ENOSPC)/su;

/** It must have ended by then, whatever the disk and the peers do; else it is killed, which is no clean stop. */
const STOP_MS_MAX = GRACE_MS + 8000;
/** An answer so young when deliveries are broken off may not have been read. */
const BREAK_OFF_MS = 50;

/** Nothing runs yet. */
export async function openLives({
  spool,
  hopPort,
  makeRoom,
  refusedMs,
  slowestSyncMs,
}: LivesOptions): Promise<Lives> {
  const [smtpPort, adminPort] = [await freePort(), await freePort()];
  const crashes: Crash[] = [];
  let daemon: Daemon | undefined;
  let output = "";
  let memoryMax = 0;

  const begin = (): Promise<Daemon> => {
    return startDaemon({
      command: binaryCommand(),
      spool,
      smtpPort,
      adminPort,
      args: [
        ...["--relay", "mx", "--set", `relay.mx_port=${hopPort}`, ...QUICK],
        ...["--set", `shutdown.grace=${GRACE_MS}ms`],
      ],
      readyPath: "/livez",
      outputCharsMax: 200_000,
    });
  };
  const running = (): Daemon => {
    if (daemon === undefined) throw new Error("there is no daemon");
    return daemon;
  };
  /** From here on nobody else finds it. */
  const taken = (): Daemon => {
    const found = running();
    daemon = undefined;
    memoryMax = Math.max(memoryMax, peakMemory(found.pid));
    return found;
  };
  const kill = async (): Promise<void> => {
    const killed = taken();
    const from = Date.now();
    const windowMs = excusedMs(SETTLE_WINDOW_MS, slowestSyncMs()) + refusedMs();
    killed.kill("SIGKILL");
    await killed.exited;
    crashes.push({ from, to: Date.now(), windowMs });
    output = killed.output();
  };
  return {
    crashes,
    port: () => (daemon === undefined ? undefined : smtpPort),
    daemon: running,
    isUp: () => daemon !== undefined,
    async start() {
      daemon = await begin().catch(async (error: Error) => {
        if (!NO_ROOM.test(error.message + error.cause)) throw error;
        makeRoom();
        return await begin();
      });
    },
    kill,
    async stop() {
      const stopped = taken();
      const askedAt = Date.now();
      const code = await stopped.stop(STOP_MS_MAX);
      const tookMs = Date.now() - askedAt;
      output = stopped.output();
      // What it breaks off a peer may have taken over at the same moment; in time it breaks off nothing.
      const abortedMs = tookMs >= GRACE_MS ? tookMs - GRACE_MS + BREAK_OFF_MS : 0;
      const windowMs = Math.max(abortedMs, refusedMs());
      if (windowMs > 0) crashes.push({ from: askedAt + tookMs, to: askedAt + tookMs, windowMs });
      if (code !== 0)
        throw new Error(`TERM ended it with ${code} after ${tookMs} ms:\n${tail(output)}`);
      return tookMs;
    },
    memoryMax: () => Math.max(memoryMax, daemon === undefined ? 0 : peakMemory(daemon.pid)),
    output: () => daemon?.output() ?? output,
    async [Symbol.asyncDispose]() {
      if (daemon !== undefined) await kill();
    },
  };
}

/** In bytes; 0 for one that is gone. */
function peakMemory(pid: number): number {
  try {
    return peakMb(pid) * 1e6 || 0;
  } catch {
    return 0;
  }
}
