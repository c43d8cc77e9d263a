import type { Clock } from "../lib/world.ts";

/**
 * Where lines go. Returns when the text is taken, or a promise of that when whoever reads is slow; nothing else is written
 * until it resolves. Throws or rejects when the text could not be written.
 */
export type LogSink = (text: string) => undefined | Promise<unknown>;

/** How many characters wait for a slow reader before lines are dropped. */
export const LOG_BUFFER_MAX = 4 * 1024 * 1024;

/** Lines of one burst go out in one write: the least time from one write to the next. */
export const LOG_GATHER_MS = 5;

/** How long a sink that failed is left alone. */
export const LOG_RETRY_MS = 1000;

export interface LogWriterOptions {
  readonly clock: Clock;
  readonly sink: LogSink;
  readonly bufferMax: number;
  /** Makes the line that tells how many lines are missing at its place. */
  readonly droppedLine: (count: number) => string;
}

export interface LogWriter {
  /** Takes lines, each ended by `\n`. Never throws, never waits, and drops them when the buffer is full. */
  write(lines: string): void;
  /** Resolves when everything written so far is out or lost, or after `timeoutMs` when the reader does not read. */
  flush(timeoutMs: number): Promise<void>;
  /** Lines lost since the start. */
  dropped(): number;
}

/** Gathers lines and writes them in batches, in order: at once after a pause, every few milliseconds under load. */
export function openLogWriter(options: LogWriterOptions): LogWriter {
  const { clock, sink } = options;
  let buffer = "";
  let writing: Promise<void> | undefined;
  let cancelTimer: (() => void) | undefined;
  let nextWriteAt = 0;
  let lost = 0;
  // Lines that are missing in front of the buffer (a write failed) and behind it (it was full).
  let lostBefore = 0;
  let lostAfter = 0;

  const note = (count: number) => (count === 0 ? "" : options.droppedLine(count));

  const drop = (lines: string) => {
    const count = lineCount(lines);
    lost += count;
    lostAfter += count;
  };

  const writeOut = () => {
    cancelTimer = undefined;
    if (buffer === "" || writing !== undefined) return;
    const lines = buffer;
    const missing = lostBefore + lostAfter;
    const failed = () => {
      const count = lineCount(lines);
      lost += count;
      lostBefore += missing + count;
      nextWriteAt = clock.now() + LOG_RETRY_MS;
    };
    nextWriteAt = clock.now() + LOG_GATHER_MS;
    const batch = note(lostBefore) + lines + note(lostAfter);
    buffer = "";
    lostBefore = 0;
    lostAfter = 0;
    try {
      const taken = sink(batch);
      if (taken === undefined) return;
      writing = taken.then(undefined, failed).then(() => {
        writing = undefined;
        schedule();
      });
    } catch {
      failed();
    }
  };

  const schedule = () => {
    if (cancelTimer !== undefined || writing !== undefined || buffer === "") return;
    cancelTimer = clock.after(Math.max(0, nextWriteAt - clock.now()), writeOut);
  };

  return {
    write(lines) {
      // Once a line is missing all that follow are, until the reader catches up: the order stays.
      if (lostAfter > 0 || buffer.length + lines.length > options.bufferMax) drop(lines);
      else buffer += lines;
      schedule();
    },
    async flush(timeoutMs) {
      let cancel: () => void = () => undefined;
      const late = new Promise<"late">((resolve) => {
        cancel = clock.after(timeoutMs, () => resolve("late"));
      });
      while (buffer !== "" || writing !== undefined) {
        cancelTimer?.();
        writeOut();
        if (writing !== undefined && (await Promise.race([writing, late])) === "late") break;
      }
      cancel();
    },
    dropped: () => lost,
  };
}

function lineCount(lines: string): number {
  let count = 0;
  for (let at = lines.indexOf("\n"); at >= 0; at = lines.indexOf("\n", at + 1)) count += 1;
  return count;
}
