import { describe, expect, test } from "bun:test";
import { byDomain } from "../support/scripted-relay.ts";
import {
  DAY,
  type Fixture,
  HOUR,
  LIFETIME,
  MINUTE,
  mail,
  notifications,
  OPTIONS,
  SECOND,
  setUp,
  textOf,
} from "./queue-fixture.ts";

const DOWN = byDomain({ "down.test": "down" });

/** Fails often enough that `down.test` is left alone for five seconds. */
async function suspend({ send, recorder }: Fixture): Promise<void> {
  for (let count = 0; count < OPTIONS.throttle.cohort; count += 1) await send("x@down.test");
  if (recorder.all("destination").length === 0) throw new Error("not suspended");
}

const callsTo = ({ relay }: Fixture, domain: string) =>
  relay.calls.filter(({ addresses }) => addresses[0]?.endsWith(`@${domain}`));

describe("a destination that fails", () => {
  test("is suspended after failures in a row, told once, and probed with one message at a time", async () => {
    const fixture = setUp({ script: DOWN });
    const { recorder, send, world, control } = fixture;
    await suspend(fixture);
    expect(recorder.all("destination")).toEqual([
      {
        kind: "destination",
        destination: "down.test",
        state: "suspended",
        reason: "Connection refused",
      },
    ]);
    for (let count = 0; count < 10; count += 1) await send("x@down.test");
    expect(callsTo(fixture, "down.test")).toHaveLength(5);
    const status = await control.status();
    expect(status.destinations[0]).toMatchObject({
      destination: "down.test",
      suspendedUntil: world.clock.now() + 5 * SECOND,
      lastFailure: "Connection refused",
    });
    await world.advance(5 * SECOND - 1);
    expect(callsTo(fixture, "down.test")).toHaveLength(5);
    await world.advance(1);
    expect(callsTo(fixture, "down.test")).toHaveLength(6);
    // It failed again: twice as long.
    await world.advance(10 * SECOND - 1);
    expect(callsTo(fixture, "down.test")).toHaveLength(6);
    await world.advance(1);
    expect(callsTo(fixture, "down.test")).toHaveLength(7);
  });

  test("is resumed by the first success, and all that waits goes at once", async () => {
    const fixture = setUp({ script: DOWN });
    const { recorder, send, world, relay, kept } = fixture;
    await suspend(fixture);
    for (let count = 0; count < 30; count += 1) await send("x@down.test");
    relay.script = () => "delivered";
    await world.advance(5 * SECOND);
    expect(recorder.all("destination").map(({ state }) => state)).toEqual(["suspended", "resumed"]);
    // The five that failed wait for their own time.
    expect(kept.messages.size).toBe(5);
    await world.advance(MINUTE);
    expect(kept.messages.size).toBe(0);
  });

  test("mail whose place was kept before the suspension does not take the place of the probe", async () => {
    const fixture = setUp({ script: DOWN });
    const { faulty, queue, relay, world, kept } = fixture;
    await world.settle();
    const release = faulty.stallAfter("write");
    const late = queue.enqueue(mail("late@down.test", { receivedAt: world.clock.now() }));
    await world.settle();
    // What comes after it finds no stall any more, and overtakes it.
    faulty.stallAfter("write")();
    await suspend(fixture);
    release();
    await late;
    await world.advance(MINUTE);
    relay.script = () => "delivered";
    await world.advance(HOUR);
    expect(kept.messages.size).toBe(0);
  });

  test("mail that was leased before the suspension does not take it either", async () => {
    const fixture = setUp({ script: DOWN });
    const { faulty, queue, relay, world, kept } = fixture;
    await world.settle();
    const release = faulty.stallAfter("lease");
    await queue.enqueue(mail("late@down.test"), "0123456789ABCDEF");
    await world.advance(0);
    await suspend(fixture);
    release();
    await world.advance(MINUTE);
    relay.script = () => "delivered";
    await world.advance(HOUR);
    expect(kept.messages.size).toBe(0);
  });

  test("what it says of a message or recipient does not count against it", async () => {
    for (const says of ["deferred", "rejected"] as const) {
      const fixture = setUp({ script: () => says });
      for (let count = 0; count < 20; count += 1) await fixture.send("x@one.test");
      expect(fixture.recorder.all("destination")).toEqual([]);
    }
  });

  test("a relay with a defect costs an attempt, is told, and is not the destination's fault", async () => {
    const fixture = setUp();
    const { relay, recorder, send, kept, world } = fixture;
    relay.throws = () => true;
    for (let count = 0; count < 10; count += 1) await send("x@one.test");
    expect(recorder.all("destination")).toEqual([]);
    expect(recorder.all("lifecycle")[0]).toMatchObject({ what: "error" });
    expect(recorder.all("delivery")[0]).toMatchObject({ status: "deferred" });
    expect([...kept.messages.values()].map(({ attempts }) => attempts)).toEqual(
      Array.from({ length: 10 }, () => 1),
    );
    relay.throws = () => false;
    await world.advance(MINUTE);
    expect(kept.messages.size).toBe(0);
  });
});

describe("P9: destinations are isolated", () => {
  test("one that hangs and one that is down with 10,000 due messages stop nobody", async () => {
    const fixture = setUp({ script: DOWN });
    const { relay, queue, world, control, kept, faulty, send } = fixture;
    relay.hangs = ({ envelope }) => envelope.recipients[0]?.address === "x@hang.test";
    await suspend(fixture);
    for (let count = 0; count < 60; count += 1) await send("x@hang.test");
    const before = faulty.calls("lease");
    await Promise.all(
      Array.from({ length: 10_000 }, () =>
        queue.enqueue(mail("x@down.test", { receivedAt: world.clock.now() })),
      ),
    );
    await world.settle();
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(3);
    for (let count = 0; count < 500; count += 1) {
      await queue.enqueue(mail(`x@d${count % 20}.test`, { receivedAt: world.clock.now() }));
    }
    await world.settle();
    await world.advance(0);
    const own = relay.calls.filter(({ addresses }) => /@d\d+\.test$/u.test(addresses[0] ?? ""));
    expect(own).toHaveLength(500);
    const { delivering, waiting } = await control.status();
    expect(delivering).toBe(5);
    expect(waiting).toBeLessThanOrEqual(OPTIONS.waitingPerDestinationMax);
    // A look for each of them would be ten thousand.
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(10);
    await world.advance(10 * SECOND);
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(40);
    expect(kept.messages.size).toBe(10_000 + 60 + 5);
  });

  test("mail for one that is down or full is not looked for as it comes", async () => {
    const fixture = setUp({ script: DOWN });
    const { relay, send, world, faulty, kept } = fixture;
    relay.hangs = ({ envelope }) => envelope.recipients[0]?.address === "x@hang.test";
    await suspend(fixture);
    for (let count = 0; count < 50; count += 1) await send("x@hang.test");
    const before = faulty.calls("lease");
    for (let count = 0; count < 200; count += 1) {
      await send("x@down.test");
      await send("x@hang.test");
      await world.advance(0);
    }
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(2);
    // It is remembered for when there is room.
    relay.hangs = () => false;
    relay.script = () => "delivered";
    relay.release();
    await world.advance(5 * SECOND);
    expect(kept.messages.size).toBe(5);
  });

  test("fresh mail for others is not found by looking while something is down", async () => {
    const fixture = setUp({ script: DOWN });
    const { queue, world, faulty, send, relay } = fixture;
    await suspend(fixture);
    for (let count = 0; count < 100; count += 1) await send("x@down.test");
    const before = faulty.calls("lease");
    for (let count = 0; count < 300; count += 1) {
      await queue.enqueue(mail("x@ok.test", { receivedAt: world.clock.now() }));
      await world.settle();
    }
    expect(callsTo(fixture, "ok.test")).toHaveLength(300);
    expect(relay.hanging).toBe(0);
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(2);
  });

  test("retries of others come to the instant while mail of one that is down stays due", async () => {
    const fixture = setUp({ script: byDomain({ "down.test": "down", "busy.test": "deferred" }) });
    const { send, world } = fixture;
    await suspend(fixture);
    for (let count = 0; count < 10; count += 1) await send("x@down.test");
    await world.advance(5 * MINUTE + 1234);
    await send("x@busy.test");
    await world.advance(MINUTE - 1);
    expect(callsTo(fixture, "busy.test")).toHaveLength(1);
    await world.advance(1);
    expect(callsTo(fixture, "busy.test")).toHaveLength(2);
  });

  test("the window and the deliveries never pass their bounds (P8)", async () => {
    const limits = { deliveriesMax: 7, waitingMax: 13, waitingPerDestinationMax: 5 };
    const fixture = setUp({ options: limits });
    const { relay, world, control, kept } = fixture;
    relay.hangs = () => true;
    const seen: number[] = [];
    const look = async () => seen.push((await control.status()).waiting);
    for (let count = 0; count < 80; count += 1) {
      await fixture.send(`x@d${count % 9}.test`);
      await look();
    }
    while (kept.messages.size > 0) {
      relay.release();
      await world.advance(SECOND);
      await look();
    }
    expect(Math.max(...seen)).toBe(13);
    expect(relay.mostAtOnce).toBe(7);
    expect(relay.calls).toHaveLength(80);
  });

  test("destinations take turns: one with much mail does not go before one with little", async () => {
    const fixture = setUp({ options: { deliveriesMax: 2, waitingPerDestinationMax: 100 } });
    const { relay, world } = fixture;
    relay.hangs = () => true;
    for (let count = 0; count < 50; count += 1) await fixture.send("x@much.test");
    for (let count = 0; count < 3; count += 1) await fixture.send("x@little.test");
    while (callsTo(fixture, "little.test").length < 3) {
      relay.release();
      await world.settle();
    }
    expect(callsTo(fixture, "much.test").length).toBeLessThanOrEqual(10);
  });

  test("a pile in storage is worked off without a look for each message", async () => {
    const fixture = setUp({ start: false });
    const { queue, world, faulty, kept } = fixture;
    for (let count = 0; count < 2000; count += 1) await queue.enqueue(mail("x@one.test"));
    queue.start();
    await world.settle();
    await world.advance(10 * SECOND);
    expect(kept.messages.size).toBe(0);
    expect(faulty.calls("lease")).toBeLessThanOrEqual(2 * (2000 / 40) + 20);
  });
});

describe("mail of a destination that stays down", () => {
  test("is deferred with the reason after half an hour, without asking the peer", async () => {
    const fixture = setUp({ script: DOWN });
    const { send, world, recorder, kept } = fixture;
    await suspend(fixture);
    const ids: string[] = [];
    for (let count = 0; count < 40; count += 1) ids.push(await send("x@down.test"));
    await world.advance(45 * MINUTE);
    const told = recorder
      .all("delivery")
      .filter(({ reply }) => reply.text === "delivery temporarily suspended: Connection refused");
    expect(told.length).toBeGreaterThan(20);
    expect(told[0]).toMatchObject({ status: "deferred", relay: "none", destination: "down.test" });
    // It is known of every message by now why it waits.
    const reasons = ids.map((id) => kept.messages.get(id)?.changes.get(0)?.reply?.enhanced);
    expect(reasons).toEqual(ids.map(() => "4.4.1"));
    expect(callsTo(fixture, "down.test").length).toBeLessThan(30);
  });

  test("gets its delay notice, expires, and bounces", async () => {
    const fixture = setUp({ script: DOWN });
    const { relay, send, world, recorder, kept } = fixture;
    await suspend(fixture);
    const ids: string[] = [];
    for (let count = 0; count < 20; count += 1) ids.push(await send("x@down.test"));
    relay.hangs = ({ envelope }) => envelope.sender === "";
    await world.advance(9 * HOUR);
    const delayed = recorder.all("notification").filter(({ action }) => action === "delayed");
    expect(ids.filter((id) => delayed.some((each) => each.id === id))).toEqual(ids);
    await world.advance(LIFETIME);
    expect(ids.filter((id) => kept.messages.has(id))).toEqual([]);
    const expired = recorder.all("expired").map(({ id }) => id);
    expect(ids.filter((id) => expired.includes(id))).toEqual(ids);
  });

  test("is looked at now and then, not all the time", async () => {
    const fixture = setUp({ script: DOWN });
    const { send, world, faulty } = fixture;
    await suspend(fixture);
    for (let count = 0; count < 20; count += 1) await send("x@down.test");
    const before = faulty.calls("lease");
    await world.advance(10 * MINUTE);
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(2 * 600 + 50);
  });
});

describe("flush", () => {
  test("tries everything that waits at once, in one call to storage, and says how much that is", async () => {
    const fixture = setUp({ script: () => "deferred" });
    const { control, send, world, relay, faulty, recorder } = fixture;
    for (let count = 0; count < 20; count += 1) await send(`x@d${count}.test`, { sender: "" });
    await world.advance(10 * SECOND);
    const calls = (["flush", "setTimestamp", "settle", "get", "list"] as const).map((operation) =>
      faulty.calls(operation),
    );
    expect(await control.flush()).toBe(20);
    expect(
      (["flush", "setTimestamp", "settle", "get", "list"] as const).map((operation) =>
        faulty.calls(operation),
      ),
    ).toEqual([calls[0]! + 1, ...calls.slice(1)]);
    expect(recorder.all("operator")).toEqual([
      { kind: "operator", action: "flush", subject: "all", count: 20 },
    ]);
    await world.advance(0);
    expect(relay.calls).toHaveLength(40);
  });

  test("a message that fails after the flush waits its normal time", async () => {
    const { control, send, world, relay } = setUp({ script: () => "deferred" });
    await send("x@one.test", { sender: "" });
    await control.flush();
    await world.advance(0);
    expect(relay.calls).toHaveLength(2);
    // Its second attempt: five minutes.
    await world.advance(5 * MINUTE - 1);
    expect(relay.calls).toHaveLength(2);
    await world.advance(1);
    expect(relay.calls).toHaveLength(3);
  });

  test("finds what is being settled at that moment too", async () => {
    const { control, send, world, relay, faulty, kept } = setUp({ script: () => "deferred" });
    const release = faulty.stallAfter("settle");
    const id = await send("x@one.test", { sender: "" });
    // In storage it is settled and due in a minute; here that is not known yet.
    await control.flush();
    await world.advance(0);
    expect(kept.messages.get(id)?.lease).toBeDefined();
    release();
    await world.settle();
    await world.advance(0);
    expect(relay.calls).toHaveLength(2);
    expect(kept.messages.get(id)?.lease).toBeUndefined();
  });

  test("trusts suspended destinations again", async () => {
    const fixture = setUp({ script: DOWN });
    const { control, send, world, relay, kept, recorder } = fixture;
    await suspend(fixture);
    for (let count = 0; count < 10; count += 1) await send("x@down.test");
    relay.script = () => "delivered";
    expect(await control.flush()).toBe(15);
    await world.advance(0);
    expect(kept.messages.size).toBe(0);
    expect(recorder.all("destination").at(-1)).toMatchObject({ state: "resumed" });
  });

  test("what was flushed to a destination that is still down is not deferred for that as overdue", async () => {
    const fixture = setUp({ script: DOWN });
    const { control, send, world, kept } = fixture;
    const id = await send("x@down.test");
    for (let count = 0; count < 8; count += 1) await send("x@down.test");
    await world.advance(MINUTE + 10 * SECOND);
    await control.flush();
    await world.advance(10 * SECOND);
    const { attempts } = kept.messages.get(id)!;
    await world.advance(5 * MINUTE);
    expect(kept.messages.get(id)!.attempts - attempts).toBeLessThanOrEqual(2);
  });
});

test("ten thousand forgotten destinations cost nothing and lose nothing", async () => {
  const fixture = setUp();
  const { queue, world, kept, relay } = fixture;
  for (let count = 0; count < 10_500; count += 1) {
    await queue.enqueue(mail(`x@d${count}.test`, { receivedAt: world.clock.now() }));
  }
  await world.settle();
  await world.advance(SECOND);
  expect(kept.messages.size).toBe(0);
  expect(relay.calls).toHaveLength(10_500);
  expect(notifications(fixture).map(textOf)).toEqual([]);
  await world.advance(DAY);
  expect(world.timers()).toEqual([]);
}, 20_000);
