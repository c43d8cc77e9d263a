import { expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import type { Event } from "../../src/observe/events.ts";
import { LostLeaseError } from "../../src/storage/storage.ts";
import { StoreUnavailableError } from "../../src/storage/store-unavailable-error.ts";
import { manualClock } from "../observe/manual-clock.ts";
import { describeWithPeers } from "../support/peers.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { envelope } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const WRITERS = 20;
const SOON = { silenceMs: 700 };
const LATER = 60_000;
const FRESH = { fresh: true };

const now = () => Date.now();
const done = { recipients: [{ index: 0, status: "delivered" as const }] };

describeWithPeers(["redis-server"], "Redis in trouble", () => {
  test("killed and started again it has all that was acknowledged, and nothing that was refused", async () => {
    await using server = await startRedis();
    const storage = await openStore(server.url(), SOON);
    const acknowledged: string[] = [];
    const refused: Error[] = [];
    let isOver = false;
    const writers = Array.from({ length: WRITERS }, async () => {
      while (!isOver) {
        const write = storage.write([envelope()], now(), FRESH);
        await write.then(
          (ids) => acknowledged.push(...ids),
          async (error: Error) => {
            refused.push(error);
            await Bun.sleep(5);
          },
        );
      }
    });
    await until("some are stored", () => acknowledged.length > 100);
    await server.crash();
    await until("clients are refused", () => refused.length > WRITERS);
    expect(storage.refusal()).toContain("cannot be reached");
    const count = acknowledged.length;
    await server.restart();
    await until("it goes on by itself", () => acknowledged.length > count + 100);
    isOver = true;
    await Promise.all(writers);
    expect(storage.refusal()).toBeUndefined();
    for (const error of refused) expect(error).toBeInstanceOf(QueueError);
    const listed = async () => (await storage.list({ limit: 100_000 })).map(({ id }) => id);
    await until(
      "what was in doubt is gone",
      async () => (await listed()).length === acknowledged.length,
    );
    expect(await listed()).toEqual(acknowledged.toSorted());
    await storage.close();
  });

  test("frozen it refuses within a bound, and does nothing of that when it thaws", async () => {
    await using server = await startRedis();
    const storage = await openStore(server.url(), SOON);
    const [id = ""] = await storage.write([envelope()], now());
    server.freeze();
    const startedAt = now();
    const late = storage.write([envelope()], now(), { ids: ["1M80000000000LATE"] });
    await expect(late).rejects.toThrow(QueueError);
    await expect(late).rejects.toMatchObject({ reply: { code: 451 } });
    expect(now() - startedAt).toBeLessThan(5000);
    expect(storage.refusal()).toContain("cannot be reached");
    server.thaw();
    await until("it is there again", () => storage.refusal() === undefined);
    await storage.probe();
    expect((await storage.list({ limit: 9 })).map((each) => each.id)).toEqual([id]);
    await storage.close();
  });

  test("out of memory it takes no mail, ends what it has, and goes on by itself", async () => {
    await using server = await startRedis({ args: ["--maxmemory-policy", "noeviction"] });
    const storage = await openStore(server.url(), SOON);
    const [first = "", second = ""] = await storage.write(
      [envelope({ to: ["a@x.example", "b@x.example"] }), envelope()],
      now(),
    );
    await server.cli("config", "set", "maxmemory", "1mb");
    const refused = storage.write([envelope()], now());
    await expect(refused).rejects.toMatchObject({ reply: { code: 452 } });
    expect(storage.refusal()).toContain("out of memory");
    await expect(storage.probe()).rejects.toThrow("out of memory");
    const leases = await storage.lease(now(), 9, { holder: "me", until: now() + LATER });
    expect(leases).toHaveLength(2);
    await storage.settle(second, done, { holder: "me" });
    const bounces = [{ id: "1M80000000BOUNCE", envelope: envelope({ sender: "" }) }];
    await storage.settle(first, { ...done, attempts: 1 }, { holder: "me", bounces });
    expect(await storage.getInfo()).toMatchObject({ size: 2 });
    await server.cli("config", "set", "maxmemory", "0");
    await until("it takes mail again", () => storage.refusal() === undefined);
    await storage.write([envelope()], now());
    await storage.close();
  });

  test("a server that came back with weaker promises gets no mail, until it keeps them again", async () => {
    await using server = await startRedis();
    const storage = await openStore(server.url(), SOON);
    const refusal = () => storage.refusal() ?? "";
    await server.restart(["--appendfsync", "everysec"]);
    await until("it is noticed", () => refusal().includes("appendfsync everysec"));
    await expect(storage.probe()).rejects.toThrow("appendfsync everysec");
    await server.restart();
    await until("it is well again", () => storage.refusal() === undefined);
    await storage.probe();
    await storage.close();
  });

  test("a server that is told to promise less while it runs is noticed within a minute, and when it is well again", async () => {
    await using server = await startRedis();
    const time = manualClock(now());
    const events: Event[] = [];
    const given = {
      world: { ...realWorld, clock: time.clock },
      emit: (event: Event) => events.push(event),
    };
    const storage = await openStore(server.url(), given);
    const asked = async () =>
      /cmdstat_config\|get:calls=(\d+)/u.exec(await server.cli("info", "commandstats"))?.[1];
    const weak = { kind: "storage", state: "failing", operation: "accept" };
    const well = { kind: "storage", state: "recovered", operation: "accept" };
    for (const [setting, value, before] of [
      ["appendfsync", "everysec", "always"],
      ["appendonly", "no", "yes"],
    ] as const) {
      const askedBefore = await asked();
      await server.cli("config", "set", setting, value);
      time.advance(59_000);
      await storage.probe();
      expect(await asked()).toBe(askedBefore);
      time.advance(1000);
      await until("it is noticed", () => storage.refusal()?.includes(`${setting} ${value}`));
      await expect(storage.probe()).rejects.toThrow(`${setting} ${value}`);
      expect(events.splice(0)).toMatchObject([
        { ...weak, reason: expect.stringContaining(`(${setting} ${value})`) },
      ]);
      await server.cli("config", "set", setting, before);
      await until("it is well again", () => {
        if (storage.refusal() === undefined) return true;
        // Not after it is well: the minute to the next question has begun by then.
        time.advance(1000);
        return false;
      });
      expect(events.splice(0)).toMatchObject([well]);
    }
    await storage.close();
    expect(time.timers()).toBe(0);
  });

  test("where weaker promises are accepted it is told once that they are, and once that they are not any more", async () => {
    await using server = await startRedis({ args: ["--maxmemory", "1gb"] });
    const time = manualClock(now());
    const texts: string[] = [];
    const storage = await openStore(server.url("?durability=warn"), {
      world: { ...realWorld, clock: time.clock },
      emit: (event) => void (event.kind === "lifecycle" && texts.push(event.text)),
    });
    await server.cli("config", "set", "maxmemory-policy", "allkeys-lru");
    const told = (times: number) =>
      until("it is told", () => {
        time.advance(60_000);
        return texts.length === times;
      });
    await told(1);
    expect(texts).toEqual([expect.stringContaining("MAY LOSE MAIL: it throws mail away")]);
    expect(storage.refusal()).toBeUndefined();
    await server.cli("config", "set", "maxmemory-policy", "noeviction");
    await told(2);
    expect(texts[1]).toEndWith("keeps mail safe again");
    await storage.close();
  });

  test("a lease that ends while the server is away is over, and its holder a stranger", async () => {
    await using server = await startRedis();
    const [one, other] = [await openStore(server.url(), SOON), await openStore(server.url(), SOON)];
    const [id = ""] = await one.write([envelope()], now());
    await one.lease(now(), 1, { holder: "one", until: now() + 300 });
    await server.crash();
    await expect(one.renew([id], "one", now() + LATER)).rejects.toThrow(QueueError);
    await server.restart();
    const taken = await until("the other has it", async () => {
      const options = { holder: "other", until: now() + LATER };
      return (await other.lease(now(), 9, options).catch(() => []))[0];
    });
    expect(taken.id).toBe(id);
    await until("back", () => one.refusal() === undefined);
    await expect(one.settle(id, done, { holder: "one" })).rejects.toThrow(LostLeaseError);
    await other.settle(id, done, { holder: "other" });
    await Promise.all([one.close(), other.close()]);
  });

  test("who waits for news hears of them also after the server was away", async () => {
    await using server = await startRedis();
    const [edge, relay] = [
      await openStore(server.url(), SOON),
      await openStore(server.url(), SOON),
    ];
    const stop = new AbortController();
    await server.restart();
    await until("back", () => edge.refusal() === undefined && relay.refusal() === undefined);
    // Nobody knows what was missed: it is time to look.
    expect(await relay.wait(stop.signal)).toEqual([]);
    const heard = new Set<string>();
    const listening = (async () => {
      for (;;) {
        const news = await relay.wait(stop.signal);
        if (news === null) return;
        for (const { id } of news) heard.add(id);
      }
    })();
    await until("heard", async () => {
      const [id = ""] = await edge.write([envelope()], now());
      await Bun.sleep(20);
      return heard.has(id);
    });
    stop.abort();
    await listening;
    await Promise.all([edge.close(), relay.close()]);
  });

  test("a primary that an operator makes a replica takes no mail, and goes on by itself when it is one again", async () => {
    await using other = await startRedis();
    await using server = await startRedis();
    const storage = await openStore(server.url(), SOON);
    const [id = ""] = await storage.write([envelope()], now());
    // The other one has nothing, and must not overwrite what is here.
    await other.crash();
    await server.cli("replicaof", "127.0.0.1", String(other.port));
    const refused = storage.write([envelope()], now());
    await expect(refused).rejects.toMatchObject({ reply: { code: 451 } });
    const told = "does not keep mail safe: it is a read-only replica";
    await until("it is told as such", () => storage.refusal()?.includes(told));
    await server.cli("replicaof", "no", "one");
    await until("it takes mail again", () => storage.refusal() === undefined);
    const [next = ""] = await storage.write([envelope()], now());
    expect((await storage.list({ limit: 9 })).map((each) => each.id)).toEqual([id, next]);
    await storage.close();
  });

  test("a server that has no room for this client is a matter of time, at the start and later", async () => {
    await using server = await startRedis();
    const storage = await openStore(server.url(), SOON);
    const { port } = server;
    const socket = { data: () => undefined };
    const only = await Bun.connect({ hostname: "127.0.0.1", port, socket });
    await server.cli("config", "set", "maxclients", "1");
    const opened = openStore(server.url(), SOON);
    await expect(opened).rejects.toBeInstanceOf(StoreUnavailableError);
    // Who waits has no connection for it: then it is time to look, now and then.
    expect(await storage.wait(new AbortController().signal)).toEqual([]);
    only.write("CLIENT KILL TYPE normal SKIPME yes\r\n");
    await until("it is told", () => storage.refusal()?.includes("cannot be reached"));
    await expect(storage.write([envelope()], now())).rejects.toBeInstanceOf(QueueError);
    only.write("CONFIG SET maxclients 100\r\n");
    await until("it is in again", () => storage.refusal() === undefined);
    const [id = ""] = await storage.write([envelope()], now());
    expect((await storage.list({ limit: 9 })).map((each) => each.id)).toEqual([id]);
    only.end();
    await storage.close();
  });
});
