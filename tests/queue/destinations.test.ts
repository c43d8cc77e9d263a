import { describe, expect, test } from "bun:test";
import {
  callsTo,
  DOWN,
  HOUR,
  LIFETIME,
  MINUTE,
  mail,
  OPTIONS,
  SECOND,
  setUp,
  suspend,
} from "./queue-fixture.ts";

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

  test("what waited for its turn when it was suspended is tried when its time has come", async () => {
    const fixture = setUp({ script: DOWN });
    const { relay, send, world } = fixture;
    relay.hangs = () => true;
    for (let count = 0; count < 6; count += 1) await send("x@down.test");
    relay.hangs = () => false;
    relay.release();
    await world.advance(5 * SECOND - 1);
    expect(relay.calls).toHaveLength(5);
    await world.advance(1);
    expect(relay.calls).toHaveLength(6);
  });

  test("is resumed by a delivery that was under way, and what was given back goes at once", async () => {
    let calls = 0;
    const throttle = { ...OPTIONS.throttle, limitStart: 10 };
    const fixture = setUp({
      options: { throttle },
      script: () => {
        calls += 1;
        return calls <= 5 ? "down" : "delivered";
      },
    });
    const { relay, send, world, kept, recorder } = fixture;
    relay.hangs = () => true;
    for (let count = 0; count < 15; count += 1) await send("x@one.test");
    relay.hangs = () => false;
    relay.release();
    await world.advance(0);
    expect(recorder.all("destination").map(({ state }) => state)).toEqual(["suspended", "resumed"]);
    expect(kept.messages.size).toBe(5);
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

  test("is deferred in one go however much it is, and nobody else's with it", async () => {
    const fixture = setUp({ script: DOWN });
    const { send, queue, world, recorder, relay, control } = fixture;
    relay.hangs = ({ envelope }) => envelope.recipients[0]?.address === "x@hang.test";
    for (let count = 0; count < 60; count += 1) await send("x@hang.test");
    await suspend(fixture);
    for (let count = 0; count < 900; count += 1) {
      await queue.enqueue(mail("x@down.test", { receivedAt: world.clock.now() }));
    }
    await world.advance(40 * MINUTE);
    const told = recorder.all("delivery").filter(({ reply }) => /suspended:/u.test(reply.text));
    expect(new Set(told.map(({ domain }) => domain))).toEqual(new Set(["down.test"]));
    expect(told.length).toBeGreaterThan(850);
    const instants = told.map(({ delayMs }) => delayMs).sort((one, other) => one - other);
    expect((instants[849] ?? 0) - (instants[0] ?? 0)).toBeLessThan(30 * SECOND);
    expect((await control.list({ limit: 1, domain: "hang.test" }))[0]?.attempts).toBe(0);
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
