import type { Config } from "../config/config.ts";
import { exit } from "../lib/sysexits.ts";
import { realWorld } from "../lib/world.ts";
import { openLog } from "../observe/log.ts";
import { stdoutSink } from "../observe/stdout.ts";
import { openDaemon } from "./daemon.ts";
import { introduction, readyLine } from "./introduction.ts";
import { atLeast } from "./log-level.ts";
import { fateText, storeName } from "./open-storage.ts";
import { exitCodeOf, startError } from "./start-error.ts";

const LOG_FLUSH_MS = 2000;

/** What the daemon is told of the process that it runs in. */
export interface ServeFacts {
  readonly version: string;
  /** Shows text to whoever started it in a terminal; absent when nobody watches. */
  readonly show?: (text: string) => void;
  /** Ends the process at once: after a bug nobody knows what still works. */
  readonly end: (code: number) => void;
}

/** Runs the daemon until it is told to stop, and resolves with what the process ends with. */
export async function serve(config: Config, { version, show, end }: ServeFacts): Promise<number> {
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
  const emit = atLeast(config.log.level, log.emit);
  const tell = (
    what: "starting" | "ready" | "draining" | "stopped" | "error",
    text: string,
  ): void => emit({ kind: "lifecycle", what, text });
  onBug((error) => {
    tell(
      "error",
      `bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    void log.flush(LOG_FLUSH_MS).finally(() => end(exit.software));
  });
  tell("starting", `slimta-queue ${version}, spool ${storeName(config)}`);
  const signals = listenForSignals();
  try {
    const daemon = await openDaemon(config, {
      world: realWorld,
      log: emit,
      version,
      startedAt,
    });
    process.on("SIGHUP", () => void daemon.reload());
    tell("ready", readyLine(config, daemon));
    show?.(introduction(config, daemon, version));
    await signals.stop;
    tell("draining", "finishing what is under way");
    const cancel = clock.after(config.shutdown.grace, () => signals.abort.abort());
    await daemon.stop(signals.abort.signal);
    cancel();
    tell("stopped", fateText(config));
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
