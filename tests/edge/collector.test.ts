import { describe, expect, test } from "bun:test";
import { collector } from "../../src/edge/collector.ts";
import type { BodySink } from "../../src/mail/content.ts";

const none = () => Promise.reject(new Error("nothing was to be opened"));
const bytes = (length: number, value = 1) => new Uint8Array(length).fill(value);

/** A sink that writes down what is asked of it and takes its time. */
function slowSink(): { readonly log: string[]; readonly open: () => Promise<BodySink> } {
  const log: string[] = [];
  const sink: BodySink = {
    async write(chunk) {
      log.push(`write ${chunk.length}`);
      await Bun.sleep(1);
      log.push("written");
    },
    async end() {
      log.push("end");
      return { kind: "source", size: 0, head: bytes(0), stream: () => (async function* () {})() };
    },
    async discard() {
      log.push("discard");
    },
  };
  return { log, open: () => Promise.resolve(sink) };
}

describe("in memory", () => {
  test("one large piece is kept without a copy", async () => {
    const piece = bytes(5000);
    const content = collector(10_000, none);
    expect(content.add(piece)).toBeUndefined();
    const body = await content.finish();
    expect(body.kind === "bytes" && body.bytes.buffer === piece.buffer).toBe(true);
  });

  test("a small part of a large chunk does not keep the chunk alive", async () => {
    const content = collector(10_000, none);
    await content.add(bytes(60_000).subarray(100, 2100));
    const body = await content.finish();
    expect(body.kind === "bytes" && body.bytes.buffer.byteLength).toBe(2000);
  });

  test("pieces of every size keep their order", async () => {
    const content = collector(1_000_000, none);
    const expected: number[] = [];
    for (let index = 0; index < 300; index += 1) {
      const piece = bytes((index * 37) % 2500, index % 251);
      expected.push(...piece);
      await content.add(piece);
    }
    expect(content.size).toBe(expected.length);
    expect(await content.finish()).toEqual({ kind: "bytes", bytes: Uint8Array.from(expected) });
  });
});

describe("in a sink", () => {
  test("everything arrives once the memory limit is passed, not before", async () => {
    const { log, open } = slowSink();
    const content = collector(3000, open);
    expect(content.add(bytes(3000))).toBeUndefined();
    await content.add(bytes(1));
    await content.add(bytes(10));
    expect((await content.finish()).kind).toBe("source");
    expect(log).toEqual(["write 3001", "written", "write 10", "written", "end"]);
  });

  test("discard waits for the write under way, and happens once", async () => {
    const { log, open } = slowSink();
    const content = collector(0, open);
    void content.add(bytes(5));
    await Bun.sleep(0);
    await Promise.all([content.discard(), content.discard()]);
    expect(content.add(bytes(5))).toBeUndefined();
    expect(log).toEqual(["write 5", "written", "discard"]);
  });

  test("a write that fails is the failure of the whole, told at the end", async () => {
    const { log, open } = slowSink();
    const failing = async () => ({
      ...(await open()),
      write: () => Promise.reject(new Error("ENOSPC")),
    });
    const content = collector(0, failing);
    await content.add(bytes(5));
    expect(content.add(bytes(5))).toBeUndefined();
    await expect(content.finish()).rejects.toThrow("ENOSPC");
    expect(log).toEqual(["discard"]);
  });
});
