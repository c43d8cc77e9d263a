import { afterAll, beforeAll, expect, test } from "bun:test";
import { realWorld, type World } from "../../src/lib/world.ts";
import { bodyContent } from "../../src/mail/content.ts";
import type { Event } from "../../src/observe/events.ts";
import { CorruptError, LostLeaseError } from "../../src/storage/storage.ts";
import { type Child, startChild } from "../support/child.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { bytesOf, envelope } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const HOUR = 3_600_000;
const LATER = 60_000;
const NODE = `${import.meta.dir}/redis-node.ts`;

const now = () => Date.now();
const delivered = { recipients: [{ index: 0, status: "delivered" as const }] };

/** A node whose clock is wrong by so much. */
function skewed(ms: number): World {
  return { ...realWorld, clock: { ...realWorld.clock, now: () => Date.now() + ms } };
}

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

  async function startNode(...args: readonly string[]): Promise<Child> {
    const child = startChild([process.execPath, NODE, ...args]);
    await child.line(/^ready$/u);
    return child;
  }
  const said = (node: Child, word: string) =>
    [...node.output().matchAll(new RegExp(`^${word} (.*)$`, "gmu"))].map(([, id = ""]) => id);

  test("in several processes each message is one's, and all are done", async () => {
    const url = fresh();
    const edge = await openStore(url);
    const nodes = await Promise.all(["a", "b", "c"].map((name) => startNode(url, name, "60000")));
    const ids: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      const made = Array.from({ length: 15 }, (_, index) =>
        envelope({ to: [`x@d${index % 4}.example`] }),
      );
      ids.push(...(await edge.write(made, now())));
    }
    await until("all are done", async () => (await edge.getInfo()).size === 0);
    await Promise.all(nodes.map((node) => node.stop()));
    expect(nodes.flatMap((node) => said(node, "leased")).toSorted()).toEqual(ids.toSorted());
    expect(nodes.flatMap((node) => said(node, "settled")).toSorted()).toEqual(ids.toSorted());
    await edge.close();
  });

  test("what a killed process had is taken over once, when its leases end", async () => {
    const url = fresh();
    const edge = await openStore(url);
    const dying = await startNode(url, "dying", "1500", "no");
    const ids = await edge.write(
      Array.from({ length: 6 }, () => envelope()),
      now(),
    );
    await until("they are leased", () => said(dying, "leased").length === 6);
    dying.kill("SIGKILL");
    await dying.exited;
    const heirs = await Promise.all(["b", "c"].map((name) => startNode(url, name, "60000", "no")));
    expect(heirs.flatMap((heir) => said(heir, "leased"))).toEqual([]);
    await until(
      "they are taken over",
      () => heirs.flatMap((heir) => said(heir, "leased")).length >= 6,
    );
    await expect(edge.settle(ids[0] ?? "", delivered, { holder: "dying" })).rejects.toThrow(
      LostLeaseError,
    );
    await Promise.all(heirs.map((heir) => heir.stop()));
    expect(heirs.flatMap((heir) => said(heir, "leased")).toSorted()).toEqual(ids.toSorted());
    await edge.close();
  });

  test("a clock that is wrong by an hour neither delays mail nor takes it from others", async () => {
    const url = fresh();
    const worlds = [skewed(HOUR), skewed(-HOUR), realWorld];
    const [ahead, behind, right] = await Promise.all(
      worlds.map((world) => openStore(url, { world })),
    );
    if (!(ahead && behind && right)) throw new Error("three are open");
    const clocks = new Map(worlds.map((world, index) => [[ahead, behind, right][index], world]));
    for (const writer of [ahead, behind, right]) {
      for (const reader of [ahead, behind, right]) {
        const here = (of: typeof reader) => clocks.get(of)?.clock.now() ?? 0;
        const [id = ""] = await writer.write([envelope()], here(writer));
        const until5 = () => ({ holder: "r", until: here(reader) + LATER });
        const [lease] = await until("it is due", async () => {
          const found = await reader.lease(here(reader), 9, until5());
          return found.length > 0 ? found : undefined;
        });
        expect(lease?.id).toBe(id);
        expect(Math.abs((lease?.due ?? 0) - here(reader))).toBeLessThan(5000);
        for (const other of [ahead, behind, right]) {
          const options = { holder: "o", until: here(other) + LATER };
          expect(await other.lease(here(other), 9, options)).toEqual([]);
        }
        await reader.settle(id, delivered, { holder: "r" });
      }
    }
    await Promise.all([ahead, behind, right].map((store) => store.close()));
  });

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

  test("two that change one message at the same time both have their way", async () => {
    const url = fresh();
    const [one, other] = [await openStore(url), await openStore(url)];
    const [id = ""] = await one.write([envelope({ to: ["a@x", "b@x", "c@x"] })], now());
    await Promise.all(
      Array.from({ length: 10 }, (_, index) => (index % 2 ? one : other).incrementAttempts(id)),
    );
    await Promise.all([one.setRecipientsDelivered(id, [0]), other.setRecipientsDelivered(id, [2])]);
    expect(await one.get(id)).toMatchObject({
      attempts: 10,
      envelope: { recipients: [{ index: 1 }] },
    });
    await Promise.all([one.close(), other.close()]);
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
