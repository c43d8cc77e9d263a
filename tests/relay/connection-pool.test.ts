import { expect, test } from "bun:test";
import type { Clock } from "../../src/lib/world.ts";
import { CONNECTION_AGE_MS_MAX, connectionPool } from "../../src/relay/connection-pool.ts";
import { deadline } from "../../src/relay/deadline.ts";
import { BAD_HOSTS_MAX, hostMemory } from "../../src/relay/host-memory.ts";
import { NOTHING_ANNOUNCED } from "../../src/relay/smtp-commands.ts";
import type { SmtpClient } from "../../src/relay/smtp-session.ts";

/** A clock that stands until it is moved. */
function manualClock() {
  let now = 0;
  let timers: { at: number; run: () => void }[] = [];
  const clock: Clock = {
    now: () => now,
    after(delayMs, run) {
      const timer = { at: now + delayMs, run };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
  };
  return {
    clock,
    timers: () => timers.length,
    pass(ms: number) {
      const until = now + ms;
      for (;;) {
        const [next] = timers
          .filter(({ at }) => at <= until)
          .sort((one, other) => one.at - other.at);
        if (!next) break;
        now = next.at;
        timers = timers.filter((other) => other !== next);
        next.run();
      }
      now = until;
    },
  };
}

function fakeClient(openedAt = 0) {
  let closed: () => void = () => undefined;
  const client = {
    target: { host: "h", ip: "127.0.0.1", port: 25, tls: "none" as const, implicitTls: false },
    announced: NOTHING_ANNOUNCED,
    openedAt,
    uses: 1,
    tls: undefined,
    usable: true,
    failure: undefined,
    goodbyes: 0,
    transact: () => Promise.resolve([]),
    renew: () => Promise.resolve(true),
    goodbye() {
      client.goodbyes += 1;
      closed();
      return Promise.resolve();
    },
    abort: () => closed(),
    onClosed(run: () => void) {
      closed = run;
    },
  };
  return client satisfies SmtpClient;
}

const OPTIONS = { messagesPerConnectionMax: 3, idleMs: 1000, idleConnectionsMax: 2 };

test("a session comes back to the same next hop only, the last one first", () => {
  const { clock } = manualClock();
  const pool = connectionPool(OPTIONS, clock);
  const [one, two] = [fakeClient(), fakeClient()];
  pool.give("a", one, "to");
  pool.give("a", two, "to");
  expect(pool.take("b")).toBeUndefined();
  expect(pool.take("a")).toBe(two);
  expect(pool.take("a")).toBe(one);
  expect(pool.take("a")).toBeUndefined();
});

test("a session that waited long enough gets its goodbye, the others stay", () => {
  const { clock, pass, timers } = manualClock();
  const pool = connectionPool(OPTIONS, clock);
  const [one, two] = [fakeClient(), fakeClient()];
  pool.give("a", one, "to");
  pass(600);
  pool.give("b", two, "to");
  pass(400);
  expect([one.goodbyes, two.goodbyes]).toEqual([1, 0]);
  expect(pool.take("a")).toBeUndefined();
  pass(600);
  expect(two.goodbyes).toBe(1);
  expect(pool.stats().idle).toBe(0);
  // Nothing is idle and nothing is polled.
  expect(timers()).toBe(0);
});

test("the oldest gives way at the limit of idle sessions", () => {
  const { clock } = manualClock();
  const pool = connectionPool(OPTIONS, clock);
  const clients = [fakeClient(), fakeClient(), fakeClient()];
  for (const [index, client] of clients.entries()) pool.give(`host${index}`, client, "to");
  expect(clients.map(({ goodbyes }) => goodbyes)).toEqual([1, 0, 0]);
  expect(pool.stats().idle).toBe(2);
});

test("a session that carried its share, or is old, does not come back", () => {
  const { clock, pass } = manualClock();
  const pool = connectionPool(OPTIONS, clock);
  const used = { ...fakeClient(), uses: 3 };
  pool.give("a", used, "to");
  expect(pool.take("a")).toBeUndefined();
  const fresh = { ...fakeClient(), uses: 2 };
  pool.give("a", fresh, "to");
  expect(pool.take("a")).toBe(fresh);
  pass(CONNECTION_AGE_MS_MAX);
  pool.give("a", fresh, "to");
  expect(pool.take("a")).toBeUndefined();
});

test("a session that closes by itself is forgotten", () => {
  const { clock } = manualClock();
  const pool = connectionPool(OPTIONS, clock);
  const client = fakeClient();
  pool.opened(client);
  pool.give("a", client, "to");
  expect(pool.stats()).toEqual({ open: 1, idle: 1 });
  client.abort();
  expect(pool.stats()).toEqual({ open: 0, idle: 0 });
  expect(pool.take("a")).toBeUndefined();
});

test("a dirty session is renewed before it waits, a lost one is not kept", async () => {
  const { clock } = manualClock();
  const pool = connectionPool(OPTIONS, clock);
  const dirty = { ...fakeClient(), usable: false };
  pool.give("a", dirty, "to");
  expect(pool.take("a")).toBeUndefined();
  await Promise.resolve();
  await Promise.resolve();
  expect(pool.take("a")).toBe(dirty);
  pool.give(
    "b",
    { ...fakeClient(), usable: false, failure: { kind: "lost", phase: "mail" } },
    "to",
  );
  await Promise.resolve();
  expect(pool.take("b")).toBeUndefined();
});

test("after close nothing stays", async () => {
  const { clock, timers } = manualClock();
  const pool = connectionPool(OPTIONS, clock);
  const [idle, late] = [fakeClient(), fakeClient()];
  pool.give("a", idle, "to");
  await pool.close();
  pool.give("a", late, "to");
  expect([idle.goodbyes, late.goodbyes]).toEqual([1, 1]);
  expect(timers()).toBe(0);
});

test("a deadline fires once, when it was last set to, and not when cleared", () => {
  const { clock, pass, timers } = manualClock();
  const fired: number[] = [];
  const limit = deadline(clock, () => fired.push(clock.now()));
  limit.set(300);
  pass(100);
  limit.set(300);
  pass(250);
  expect(fired).toEqual([]);
  limit.set(20);
  pass(30);
  expect(fired).toEqual([370]);
  limit.set(50);
  limit.clear();
  pass(1000);
  expect(fired).toEqual([370]);
  limit.set(50);
  limit.close();
  pass(100);
  expect(fired).toEqual([370]);
  expect(timers()).toBe(0);
});

test("a host memory forgets in time, on demand and at its limit", () => {
  const { clock, pass } = manualClock();
  const memory = hostMemory(clock, 100);
  memory.note("a");
  memory.note("b");
  expect([memory.has("a"), memory.has("c")]).toEqual([true, false]);
  memory.forget("b");
  expect(memory.has("b")).toBe(false);
  pass(100);
  expect(memory.has("a")).toBe(false);
  for (let index = 0; index <= BAD_HOSTS_MAX; index += 1) memory.note(`host${index}`);
  expect([memory.has("host0"), memory.has("host1")]).toEqual([false, true]);
});
