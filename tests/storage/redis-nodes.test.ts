import { heapStats } from "bun:jsc";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { bodyContent } from "../../src/mail/content.ts";
import type { Event } from "../../src/observe/events.ts";
import { CorruptError } from "../../src/storage/storage.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { bytesOf, envelope } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const HOUR = 3_600_000;
const LATER = 60_000;

const now = () => Date.now();

describeWithPeers(["redis-server"], "nodes on one Redis", () => {
  let server: RedisServer;
  let queues = 0;
  const fresh = () => {
    queues += 1;
    return server.url(`?prefix=n${queues}`);
  };
  const key = (rest: string) => `{n${queues}}:${rest}`;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("who waits hears of mail within milliseconds, of what was given back, flushed, freed and put off", async () => {
    const url = fresh();
    const [edge, relay] = [await openStore(url), await openStore(url)];
    const signal = new AbortController().signal;
    const heardIn: number[] = [];
    for (let round = 0; round < 25; round += 1) {
      const startedAt = performance.now();
      const news = relay.wait(signal);
      const [id = ""] = await edge.write([envelope()], now() + HOUR);
      expect((await news)?.map((item) => item.id)).toEqual([id]);
      heardIn.push(performance.now() - startedAt);
    }
    // On a machine of its own it is two; what matters here is that nobody polls.
    expect(heardIn.toSorted((a, b) => a - b)[12]).toBeLessThan(200);
    const [first] = await edge.list({ limit: 1 });
    const id = first?.id ?? "";
    const hears = async (act: () => Promise<unknown>) => {
      const news = relay.wait(signal);
      await act();
      return (await news)?.map((item) => item.id);
    };
    expect(await hears(() => edge.setTimestamp(id, now()))).toEqual([id]);
    await edge.lease(now() + 50, 1, { holder: "me", until: now() + LATER });
    expect(await hears(() => edge.release([id], "me"))).toEqual([id]);
    await edge.setHeld(id, true);
    expect(await hears(() => edge.setHeld(id, false))).toEqual([id]);
    expect(await hears(() => edge.flush())).toEqual([]);
    // One's own news is none.
    const others = edge.wait(signal);
    await edge.setTimestamp(id, now());
    const [other = ""] = await relay.write([envelope()], now());
    expect((await others)?.map((item) => item.id)).toEqual([other]);
    await Promise.all([edge.close(), relay.close()]);
  });

  test("a lease that ends is told to all, also when somebody only counts", async () => {
    const url = fresh();
    const [edge, relay] = [await openStore(url), await openStore(url)];
    const [id = ""] = await edge.write([envelope()], now());
    const options = { holder: "dead", until: now() + 300 };
    await until("it is leased", async () => (await edge.lease(now(), 1, options)).length > 0);
    const signal = new AbortController().signal;
    // What it is told of the writing itself.
    expect((await relay.wait(signal))?.map((item) => item.id)).toEqual([id]);
    const news = relay.wait(signal);
    await until("it has ended", async () => (await edge.nextDue()) !== null);
    expect((await news)?.map((item) => item.id)).toEqual([id]);
    await Promise.all([edge.close(), relay.close()]);
  });

  test("waiting leaves nothing behind at a signal that lives as long as the process", async () => {
    const url = fresh();
    const [edge, relay] = [await openStore(url), await openStore(url)];
    const { signal } = new AbortController();
    const signals = (): number => {
      Bun.gc(true);
      return heapStats().objectTypeCounts.AbortSignal ?? 0;
    };
    const before = signals();
    for (let round = 0; round < 100; round += 1) {
      const news = relay.wait(signal);
      await edge.write([envelope()], now());
      await news;
    }
    await until("they are gone", () => signals() < before + 50);
    await Promise.all([edge.close(), relay.close()]);
  });

  test("a damaged record is moved aside and told, and everything else flows", async () => {
    const events: Event[] = [];
    const url = fresh();
    const storage = await openStore(url, { emit: (event) => events.push(event) });
    const sink = await storage.openBody();
    for (let part = 0; part < 3; part += 1) await sink.write(new Uint8Array(300_000).fill(part));
    const large = envelope({ content: bodyContent(await sink.end()) });
    const plain = () => envelope({ text: "Subject: x\r\n\r\nas it was\r\n" });
    const made = [plain(), plain(), plain(), large, plain()];
    const [flipped = "", lost = "", row = "", hole = "", good = ""] = await storage.write(
      made,
      now(),
    );
    await server.cli("setrange", key(`c:${flipped}`), "60", "??");
    await server.cli("del", key(`c:${lost}`));
    await server.cli("hset", key(`m:${row}`), "a", "many");
    const name = await server.cli("hget", key(`m:${hole}`), "b");
    await server.cli("hdel", key(`b:${name}`), "2");
    for (const id of [flipped, lost, row]) {
      await expect(storage.get(id)).rejects.toThrow(CorruptError);
    }
    const { content } = (await storage.get(hole)).envelope;
    await expect(bytesOf(content)).rejects.toThrow("a part of the body is missing");
    const leases = await storage.lease(now() + 50, 9, { holder: "me", until: now() + LATER });
    expect(leases.map(({ id }) => id)).toEqual([good]);
    expect(await storage.getInfo()).toMatchObject({ size: 1, corrupt: 4 });
    expect((await storage.list({ limit: 9 })).map(({ id }) => id)).toEqual([good]);
    const told = events.flatMap((event) => (event.kind === "corrupt" ? [event.subject] : []));
    expect(told).toEqual([flipped, lost, row, hole]);
    expect(await server.cli("hget", key(`x:m:${flipped}`), "reason")).toContain("checksum");
    expect(await server.cli("zrange", key("corrupt"), "0", "-1")).toContain(lost);
    await storage.close();
  });

  test("what ended leaves nothing, and an upload that nobody wants expires", async () => {
    const url = fresh();
    const storage = await openStore(url);
    const upload = async () => {
      const sink = await storage.openBody();
      await sink.write(new Uint8Array(300_000).fill(1));
      return bodyContent(await sink.end());
    };
    const shared = await upload();
    const ids = await storage.write(
      [envelope({ content: shared }), envelope({ content: shared }), envelope()],
      now(),
    );
    const bodies = async () => (await server.cli("keys", key("b:*"))).split("\n").filter(Boolean);
    const [body = ""] = await bodies();
    expect(await server.cli("pttl", body)).toBe("-1");
    await storage.remove(ids[0] ?? "");
    expect(await bodies()).toEqual([body]);
    for (const id of ids) await storage.remove(id);
    expect(await bodies()).toEqual([]);
    const kept = (await server.cli("keys", key("*"))).split("\n").filter(Boolean);
    expect(kept.toSorted()).toEqual([key("news")]);
    const late = await upload();
    const [abandoned = ""] = await bodies();
    expect(Number(await server.cli("pttl", abandoned))).toBeGreaterThan(LATER);
    await server.cli("del", abandoned);
    await expect(storage.write([envelope({ content: late })], now())).rejects.toThrow("expired");
    expect(await storage.getInfo()).toMatchObject({ size: 0, bytes: 0 });
    await storage.close();
  });
});
