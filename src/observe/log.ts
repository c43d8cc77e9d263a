import type { Clock } from "../lib/world.ts";
import type { Emit } from "./events.ts";
import { jsonLines } from "./log-json.ts";
import { textLines } from "./log-text.ts";
import { LOG_BUFFER_MAX, type LogSink, openLogWriter } from "./log-writer.ts";
import type { StampStyle } from "./stamp.ts";

export interface LogOptions {
  readonly format: "text" | "json";
  /** Dates of text lines; JSON lines always have theirs. */
  readonly stamp: StampStyle;
  /** Postfix's `syslog_name`: what stands before `/smtpd[pid]`. */
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  readonly clock: Clock;
  readonly sink: LogSink;
}

export interface Log {
  /** Writes an event as its lines, soon. Never throws and never waits. */
  readonly emit: Emit;
  /** Resolves when everything emitted so far is out or lost, or after `timeoutMs` when nobody reads. Call it at exit. */
  flush(timeoutMs: number): Promise<void>;
  /** Lines lost since the start, because whoever reads them was too slow or gone. */
  dropped(): number;
}

/** The log: one line per fact in the order of events, bounded in memory, never in the way of mail. */
export function openLog(options: LogOptions): Log {
  const { clock } = options;
  const lines = options.format === "json" ? jsonLines(options) : textLines(options);
  const warning = (count: number) =>
    lines(
      { kind: "lifecycle", what: "warning", text: `log: ${count} lines dropped here` },
      clock.now(),
    );
  const writer = openLogWriter({
    clock,
    sink: options.sink,
    bufferMax: LOG_BUFFER_MAX,
    droppedLine: warning,
  });
  return {
    emit: (event) => writer.write(lines(event, clock.now())),
    flush: (timeoutMs) => writer.flush(timeoutMs),
    dropped: () => writer.dropped(),
  };
}
