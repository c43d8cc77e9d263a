import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  LOG_GATHER_MS,
  LOG_RETRY_MS,
  type LogSink,
  openLogWriter,
} from "../../src/observe/log-writer.ts";
import { manualClock } from "./manual-clock.ts";

const droppedLine = (count: number) => `(${count} dropped)\n`;

function writerInto(sink: LogSink, bufferMax = 1000) {
  const time = manualClock();
  return { ...time, writer: openLogWriter({ clock: time.clock, sink, bufferMax, droppedLine }) };
}

test("the lines of a burst are one write, at once after a pause", () => {
  const writes: string[] = [];
  const { writer, advance } = writerInto((text) => void writes.push(text));
  writer.write("a\n");
  writer.write("b\nc\n");
  expect(writes).toEqual([]);
  advance(0);
  expect(writes).toEqual(["a\nb\nc\n"]);
  writer.write("d\n");
  advance(LOG_GATHER_MS - 1);
  expect(writes).toHaveLength(1);
  advance(1);
  expect(writes).toEqual(["a\nb\nc\n", "d\n"]);
});

test("a slow reader holds one batch at a time; past the buffer lines are dropped, counted and told", async () => {
  const writes: string[] = [];
  let ready = Promise.withResolvers<void>();
  const { writer, advance } = writerInto((text) => {
    writes.push(text);
    return ready.promise;
  }, 10);
  writer.write("first\n");
  advance(0);
  for (const line of ["12345678\n", "9\n", "\n", "x\n"]) writer.write(line);
  advance(60_000);
  expect(writes).toEqual(["first\n"]);
  // Nothing small slips past what was dropped: the order stays.
  expect(writer.dropped()).toBe(3);
  const waiting = ready;
  ready = Promise.withResolvers();
  waiting.resolve();
  await waiting.promise;
  await Promise.resolve();
  await Promise.resolve();
  advance(LOG_GATHER_MS);
  expect(writes[1]).toBe("12345678\n(3 dropped)\n");
});

test("a sink that fails loses its batch, is left alone for a while, and never throws", () => {
  const writes: string[] = [];
  let broken = true;
  const { writer, advance } = writerInto((text) => {
    if (broken) throw new Error("EPIPE");
    writes.push(text);
    return undefined;
  });
  writer.write("a\nb\n");
  advance(0);
  writer.write("c\n");
  broken = false;
  advance(LOG_RETRY_MS - 1);
  expect(writes).toEqual([]);
  advance(1);
  expect(writes).toEqual(["(2 dropped)\nc\n"]);
  expect(writer.dropped()).toBe(2);
});

test("a rejection is no different from an exception", async () => {
  const writes: string[] = [];
  let broken = true;
  const { writer, advance } = writerInto((text) => {
    writes.push(text);
    return broken ? Promise.reject(new Error("EPIPE")) : undefined;
  });
  writer.write("a\n");
  await writer.flush(1000);
  broken = false;
  writer.write("b\n");
  advance(LOG_RETRY_MS);
  expect(writes).toEqual(["a\n", "(1 dropped)\nb\n"]);
});

test("flush waits for a slow reader, and not for ever", async () => {
  const ready = Promise.withResolvers<void>();
  const writes: string[] = [];
  const { writer, advance, timers } = writerInto((text) => {
    writes.push(text);
    return writes.length === 1 ? ready.promise : undefined;
  });
  writer.write("a\n");
  advance(0);
  writer.write("b\n");
  const late = writer.flush(1000);
  advance(1000);
  await late;
  expect(writes).toEqual(["a\n"]);
  const flushed = writer.flush(1000);
  ready.resolve();
  await flushed;
  expect(writes).toEqual(["a\n", "b\n"]);
  expect(timers()).toBe(0);
});

test("whatever the sink does, every line is written in order or counted as dropped", async () => {
  const step = fc.oneof(
    fc.nat(30).map((length) => ({ write: length })),
    fc.constantFrom("ok", "throw", "reject", "slow", "resolve").map((mode) => ({ mode })),
    fc.nat(2000).map((advance) => ({ advance })),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      let mode = "ok";
      let output = "";
      let release: () => void = () => undefined;
      const { writer, advance } = writerInto((text) => {
        if (mode === "throw") throw new Error("no");
        if (mode === "reject") return Promise.reject(new Error("no"));
        output += text;
        if (mode !== "slow") return undefined;
        const { promise, resolve } = Promise.withResolvers<void>();
        release = resolve;
        return promise;
      }, 60);
      let count = 0;
      for (const one of steps) {
        if ("write" in one) {
          count += 1;
          writer.write(`${String(count).padStart(one.write, "0")}\n`);
        } else if ("advance" in one) advance(one.advance);
        else if (one.mode === "resolve") release();
        else mode = one.mode;
        for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
      }
      mode = "ok";
      release();
      await writer.flush(1000);
      const lines = output.split("\n").filter((line) => line !== "" && !line.startsWith("("));
      const numbers = lines.map(Number);
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
      expect(numbers.length + writer.dropped()).toBe(count);
    }),
  );
});
