import { afterAll, beforeAll, expect, test } from "bun:test";
import { LostLeaseError, NotFoundError } from "../../src/storage/storage.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { envelope, idOf } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const LATER = 60_000;
const MANY = 300;
const now = () => Date.now();
const delivered = { attempts: 1, recipients: [{ index: 0, status: "delivered" as const }] };

describeWithPeers(["redis-server"], "what comes together is one step in Redis", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  /** How often a script was run since the last time. */
  const scripts = async (): Promise<number> => {
    const stats = await server.cli("info", "commandstats");
    await server.cli("config", "resetstat");
    return Number(/^cmdstat_evalsha:calls=(\d+)/mu.exec(stats)?.[1] ?? 0);
  };

  test("hundreds of messages are stored, read and settled in a few steps", async () => {
    const storage = await openStore(server.url("?prefix=many"));
    const ids = Array.from({ length: MANY }, (_, index) => idOf(index));
    const lease = { holder: "me", until: now() + LATER };
    await scripts();
    await Promise.all(
      ids.map((id) => storage.write([envelope()], now(), { ids: [id], fresh: true, lease })),
    );
    await Promise.all(ids.map((id) => storage.get(id)));
    const retry = { attempts: 1, due: now() + LATER };
    const change = (index: number) => (index % 3 === 0 ? retry : delivered);
    await Promise.all(ids.map((id, index) => storage.settle(id, change(index), { holder: "me" })));
    expect(await scripts()).toBeLessThan(12);
    expect(await storage.getInfo()).toMatchObject({
      size: MANY / 3,
      states: { incoming: 0, active: 0, deferred: MANY / 3, hold: 0 },
      bytes: (MANY / 3) * "Subject: x\r\n\r\nhi\r\n".length,
    });
    expect((await storage.list({ limit: MANY })).map(({ id }) => id)).toEqual(
      ids.filter((_, index) => index % 3 === 0),
    );
    for (const { id } of await storage.list({ limit: MANY })) await storage.remove(id);
    expect(await server.cli("--scan", "--pattern", "{many}:[mcs]:*")).toBe("");
    await storage.close();
  });

  test("each gets its own answer, whatever becomes of the others", async () => {
    const storage = await openStore(server.url("?prefix=each"));
    const [ends, waits, other, broken] = [idOf(1), idOf(2), idOf(3), idOf(4)];
    const lease = { holder: "me", until: now() + LATER };
    const ids = [ends, waits, broken];
    await storage.write([envelope(), envelope(), envelope()], now(), { ids, fresh: true, lease });
    const theirs = { holder: "somebody", until: now() + LATER };
    await storage.write([envelope()], now(), { ids: [other], lease: theirs });
    await server.cli("del", `{each}:m:${broken}`);
    await server.cli("set", `{each}:m:${broken}`, "no row");
    const bounces = [{ id: idOf(9), envelope: envelope({ sender: "" }) }];
    const settled = await Promise.allSettled([
      storage.settle(broken, delivered, { holder: "me" }),
      storage.settle(other, delivered, { holder: "me" }),
      storage.settle(ends, delivered, { holder: "me", bounces }),
      storage.settle(idOf(5), delivered),
      storage.settle(waits, { attempts: 1, due: now() + LATER }, { holder: "me" }),
      storage.settle(ends, delivered),
    ]);
    const reasons = settled.map((each) => (each.status === "rejected" ? each.reason : undefined));
    expect(reasons[0]).toBeInstanceOf(NotFoundError);
    expect(reasons[1]).toBeInstanceOf(LostLeaseError);
    expect(reasons[2]).toBeUndefined();
    expect(reasons[3]).toBeInstanceOf(NotFoundError);
    expect(reasons[4]).toBeUndefined();
    expect(reasons[5]).toBeInstanceOf(NotFoundError);
    expect(await storage.get(waits)).toMatchObject({ attempts: 1, state: "deferred" });
    expect(await storage.get(idOf(9))).toMatchObject({ state: "incoming" });
    await storage.close();
  });
});
