import type { AdminAddress } from "../admin/server.ts";
import type { Config } from "../config/config.ts";
import { exit } from "../lib/sysexits.ts";
import { realWorld } from "../lib/world.ts";
import { QueueError } from "../mail/queue-error.ts";
import { openLog } from "../observe/log.ts";
import { stdoutSink } from "../observe/stdout.ts";
import { LockedError } from "../storage/disk/lock.ts";
import { openDaemon } from "./daemon.ts";

const LOG_FLUSH_MS = 2000;

/** Runs the daemon until it is told to stop, and resolves with what the process ends with. */
export async function serve(config: Config, version: string): Promise<number> {
  const { clock } = realWorld;
  const startedAt = clock.now();
  const log = openLog({
    format: config.log.format,
    stamp: "rfc3339",
    name: "slimta-queue",
    host: config.smtp.hostname,
    pid: process.pid,
    clock,
    sink: stdoutSink(),
  });
  const tell = (
    what: "starting" | "ready" | "draining" | "stopped" | "error",
    text: string,
  ): void => log.emit({ kind: "lifecycle", what, text });
  onBug((error) => {
    tell(
      "error",
      `bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    void log.flush(LOG_FLUSH_MS).finally(() => process.exit(exit.software));
  });
  tell("starting", `slimta-queue ${version}, spool ${config.spool.dir}`);
  const signals = listenForSignals();
  try {
    const daemon = await openDaemon(config, {
      world: realWorld,
      log: log.emit,
      version,
      startedAt,
    });
    process.on("SIGHUP", () => void daemon.reload());
    const smtp = daemon.smtp.map(({ host, port }) => `${bracketed(host)}:${port}`).join(" ");
    tell("ready", `smtp ${smtp}, admin ${daemon.admin.map(addressText).join(" ")}`);
    await signals.stop;
    tell("draining", "finishing what is under way");
    const cancel = clock.after(config.shutdown.grace, () => signals.abort.abort());
    await daemon.stop(signals.abort.signal);
    cancel();
    tell("stopped", "everything that was accepted is kept");
    return exit.ok;
  } catch (error) {
    tell("error", startError(error));
    return exitCodeOf(error);
  } finally {
    await log.flush(LOG_FLUSH_MS);
  }
}

/** The first TERM or INT stops, the second breaks off what still runs. */
function listenForSignals() {
  const stop = Promise.withResolvers<void>();
  const abort = new AbortController();
  let asked = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (asked) abort.abort();
      asked = true;
      stop.resolve();
    });
  }
  return { stop: stop.promise, abort };
}

function onBug(end: (error: unknown) => void): void {
  process.on("uncaughtException", end);
  process.on("unhandledRejection", end);
}

function startError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return `cannot start: ${error.message}${cause}`;
}

const CODES: Readonly<Record<string, number>> = {
  EACCES: exit.noPermission,
  EPERM: exit.noPermission,
  EADDRINUSE: exit.unavailable,
  EADDRNOTAVAIL: exit.config,
  ENOENT: exit.config,
};

function exitCodeOf(error: unknown): number {
  if (error instanceof LockedError) return exit.temporary;
  const source = error instanceof QueueError && error.cause instanceof Error ? error.cause : error;
  const code = source instanceof Error && "code" in source ? String(source.code) : "";
  if (CODES[code] !== undefined) return CODES[code];
  return error instanceof QueueError ? exit.cannotCreate : exit.software;
}

function addressText(address: AdminAddress): string {
  return "unix" in address ? address.unix : `${bracketed(address.host)}:${address.port}`;
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
