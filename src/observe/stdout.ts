import type { LogSink } from "./log-writer.ts";

/** Larger batches than this go to the descriptor directly anyway. */
const CHUNK_BYTES = 64 * 1024;

/**
 * Standard output as a sink. Of the ways to write to it this one never blocks the process on a full pipe or socket (a
 * synchronous write does), keeps no unbounded buffer (`process.stdout` does) and writes whole texts, in order. A reader
 * that went away is an ordinary error of the text that could not be written.
 */
export function stdoutSink(): LogSink {
  const writer = Bun.stdout.writer({ highWaterMark: CHUNK_BYTES });
  return (text) => {
    const written = writer.write(text);
    const flushed = writer.flush();
    const slow = written instanceof Promise || flushed instanceof Promise;
    return slow ? Promise.all([written, flushed]) : undefined;
  };
}
