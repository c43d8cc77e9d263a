import { flush, queueOf } from "../../tests/e2e/help.ts";
import {
  BINARY,
  type Daemon,
  type DaemonOptions,
  startDaemon,
} from "../../tests/support/binary.ts";
import { freePort } from "../../tests/support/free-port.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import { until } from "../../tests/support/until.ts";
import { deferredBacklog } from "./deferred-backlog.ts";
import { isolation } from "./isolation.ts";
import { smtpSource } from "./load.ts";
import type { Measures, Setting } from "./measures.ts";
import { cpuSeconds, forgetPeak, peakMb, residentMb, wakeUps } from "./processes.ts";
import { STORE_CASES } from "./store-cases.ts";

/** Something that is measured of our server alone. */
export interface AloneCase {
  readonly name: string;
  readonly title: string;
  /** Only run when asked for by name: it takes minutes. */
  readonly onRequest: boolean;
  /** Programs that it needs besides smtp-source and smtp-sink, as tests/support/peers.txt calls them. */
  readonly peers?: readonly string[];
  run(setting: Setting): Promise<Measures>;
}

export const IDLE_MB = "resident MB";
export const IDLE_CPU = "CPU ms per s";
export const IDLE_WAKE_UPS = "wake-ups per s";
export const GROWTH_MB = "growth MB";
export const READY_MS = "ready ms";
export const FLUSH_MS = "flush ms";
export const LIST_MS = "list ms";
export const PEAK_MB = "peak MB";

const IDLE_SECONDS = 10;
const LARGE_BYTES = 50 * 2 ** 20;
const MILLION = 1_000_000;

/** All cases that are run on our server only. */
export const ALONE: readonly AloneCase[] = [
  { name: "idle", title: "idle", onRequest: false, run: idle },
  { name: "large", title: "a message of 50 MiB", onRequest: false, run: large },
  {
    name: "isolation",
    title: "healthy destinations beside sick ones",
    onRequest: false,
    run: isolation,
  },
  {
    name: "deferred-backlog",
    title: "new mail beside 100,000 that wait for their time",
    onRequest: false,
    run: deferredBacklog("waiting"),
  },
  {
    name: "overdue-backlog",
    title: "new mail beside 100,000 that are due and cannot go",
    onRequest: false,
    run: deferredBacklog("overdue"),
  },
  { name: "million", title: "a million messages of 1 KiB", onRequest: true, run: million },
  ...STORE_CASES,
];

function daemonOptions(dir: { join(name: string): string }, relay: string): DaemonOptions {
  return {
    command: [BINARY],
    spool: dir.join("spool"),
    args: ["--relay", relay, "--set", "smtp.size_max=64MiB"],
    outputFile: dir.join("log"),
  };
}

async function idle({ parent }: Setting): Promise<Measures> {
  await using dir = tempDir("bench", parent);
  await using daemon = await startDaemon(daemonOptions(dir, "none"));
  // What starting left to do is not idling.
  await Bun.sleep(2000);
  const [cpu, woken] = [cpuSeconds(daemon.pid), wakeUps(daemon.pid)];
  await Bun.sleep(IDLE_SECONDS * 1000);
  return {
    [IDLE_MB]: residentMb(daemon.pid),
    [IDLE_CPU]: ((cpuSeconds(daemon.pid) - cpu) * 1000) / IDLE_SECONDS,
    [IDLE_WAKE_UPS]: (wakeUps(daemon.pid) - woken) / IDLE_SECONDS,
  };
}

/** How much more memory the server takes at most while a large message comes in. */
async function large({ parent }: Setting): Promise<Measures> {
  await using dir = tempDir("bench", parent);
  await using daemon = await startDaemon(daemonOptions(dir, "none"));
  const load = { port: daemon.smtpPort, sessions: 1, reuse: true };
  await smtpSource({ ...load, messages: 100, bytes: 10_240 });
  const before = residentMb(daemon.pid);
  forgetPeak(daemon.pid);
  const seconds = await smtpSource({ ...load, messages: 1, bytes: LARGE_BYTES });
  return { [GROWTH_MB]: peakMb(daemon.pid) - before, "MB/s": LARGE_BYTES / 1e6 / seconds };
}

/** A deep queue whose next hop is down: start, memory, flush, first page. */
async function million({ parent, sessions }: Setting): Promise<Measures> {
  await using dir = tempDir("bench", parent);
  await fill(daemonOptions(dir, "none"), sessions);
  const options = daemonOptions(dir, `smtp://127.0.0.1:${await freePort()}`);
  const startedAt = performance.now();
  await using daemon = await startDaemon(options);
  const ready = performance.now() - startedAt;
  const listedFirst = await elapsed(() => firstPage(daemon));
  const flushed = await elapsed(() => flush(daemon));
  const listed = await elapsed(() => firstPage(daemon));
  // The first failures of the next hop, and what follows from them, belong to it.
  await Bun.sleep(10_000);
  const { size } = await queueOf(daemon);
  if (size !== MILLION) throw new Error(`${size} messages are left of a million`);
  return {
    [READY_MS]: ready,
    [FLUSH_MS]: flushed,
    [LIST_MS]: Math.max(listedFirst, listed),
    [PEAK_MB]: peakMb(daemon.pid),
  };
}

async function fill(options: DaemonOptions, sessions: number): Promise<void> {
  await using daemon = await startDaemon(options);
  await smtpSource({
    port: daemon.smtpPort,
    messages: MILLION,
    sessions,
    bytes: 1024,
    reuse: true,
  });
  await until("a million messages", async () => (await queueOf(daemon)).size === MILLION, 60_000);
}

async function firstPage(daemon: Daemon): Promise<void> {
  await daemon.adminJson("/v1/messages");
}

async function elapsed(run: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await run();
  return performance.now() - startedAt;
}
