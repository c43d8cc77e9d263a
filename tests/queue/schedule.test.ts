import { describe, expect, test } from "bun:test";
import { FakeStorage } from "../support/fake-storage.ts";
import { simWorld } from "../support/sim-world.ts";
import {
  BOUNCE_LIFETIME,
  DAY,
  HOUR,
  LIFETIME,
  MINUTE,
  notifications,
  OPTIONS,
  SECOND,
  setUp,
  textOf,
} from "./queue-fixture.ts";

/** Every peer is busy, which suspends nobody; notifications are taken. */
const busy = () =>
  setUp({
    script: (_, { envelope }) => (envelope.client.protocol === "LOCAL" ? "delivered" : "deferred"),
  });

/** Delays between one attempt and the next, in minutes. */
const gaps = (instants: readonly number[]) =>
  instants.slice(1).map((at, index) => (at - (instants[index] ?? 0)) / MINUTE);

describe("retries", () => {
  test("come after 1, 5, 15, 30, 60, 120 minutes, then every 4 hours, to the instant", async () => {
    const { world, relay, send } = busy();
    const at: number[] = [];
    const script = relay.script;
    relay.script = (recipient, delivery) => {
      if (delivery.attempts >= at.length) at.push(world.clock.now());
      return script(recipient, delivery);
    };
    await send("bob@one.test");
    await world.advance(DAY);
    expect(gaps(at)).toEqual([1, 5, 15, 30, 60, 120, 240, 240, 240, 240, 240]);
  });

  test("cost two looks at storage each, and nothing between them", async () => {
    const { world, faulty, send, relay } = busy();
    await send("bob@one.test", { sender: "" });
    await world.advance(23 * HOUR);
    expect(relay.calls).toHaveLength(11);
    expect(faulty.calls("lease")).toBeLessThanOrEqual(2 * 11);
    expect(faulty.calls("nextDue")).toBeLessThanOrEqual(2 * 11);
  });
});

describe("the delay notice", () => {
  const delayed = (fixture: ReturnType<typeof setUp>) =>
    fixture.recorder.all("notification").filter(({ action }) => action === "delayed");

  test("is sent once, with the first attempt after 4 hours", async () => {
    const fixture = busy();
    fixture.relay.hangs = ({ envelope }) => envelope.sender === "";
    const id = await fixture.send("bob@one.test");
    await fixture.world.advance(4 * HOUR - MINUTE);
    expect(delayed(fixture)).toEqual([]);
    await fixture.world.advance(4 * HOUR);
    expect(delayed(fixture)).toHaveLength(1);
    const [notice] = notifications(fixture);
    expect(textOf(notice!)).toContain("Action: delayed");
    expect(textOf(notice!)).toContain("Will-Retry-Until:");
    await fixture.world.advance(2 * DAY);
    expect(delayed(fixture)).toHaveLength(1);
    expect(fixture.kept.messages.get(id)?.delayNotified).toBe(true);
  });

  test("is not sent for the null sender, nor to who did not want it", async () => {
    const fixture = busy();
    await fixture.send("bob@one.test", { sender: "" });
    await fixture.send("bob@two.test", {
      recipients: [{ index: 0, address: "bob@two.test", notify: ["FAILURE"] }],
    });
    await fixture.world.advance(23 * HOUR);
    expect(delayed(fixture)).toEqual([]);
  });

  test("can be switched off", async () => {
    const notices = { ...OPTIONS.notices, delayNoticeMs: null };
    const fixture = setUp({ script: () => "deferred", options: { notices } });
    await fixture.send("bob@one.test");
    await fixture.world.advance(DAY);
    expect(delayed(fixture)).toEqual([]);
  });
});

describe("expiry", () => {
  test("comes with a last attempt at the end of the lifetime, and says 4.4.7", async () => {
    const fixture = busy();
    const { world, kept, recorder, send, relay } = fixture;
    const id = await send("bob@one.test");
    await world.advance(DAY);
    relay.hangs = ({ envelope }) => envelope.sender === "";
    await world.advance(LIFETIME - DAY - 1);
    expect(kept.messages.has(id)).toBe(true);
    expect(recorder.all("expired")).toEqual([]);
    const before = relay.calls.length;
    await world.advance(1);
    expect(kept.messages.has(id)).toBe(false);
    expect(relay.calls.filter((call) => call.id === id)).toHaveLength(
      relay.calls.slice(0, before).filter((call) => call.id === id).length + 1,
    );
    expect(recorder.all("expired")).toMatchObject([{ id }]);
    const failed = notifications(fixture)
      .map(textOf)
      .find((text) => text.includes("failed"));
    expect(failed).toContain("Status: 4.4.7");
    expect(failed).toContain("Busy (message expired)");
  });

  test("comes after a day for the null sender, and tells nobody", async () => {
    const { world, kept, recorder, send } = busy();
    const id = await send("bob@one.test", { sender: "" });
    await world.advance(BOUNCE_LIFETIME - 1);
    expect(kept.messages.has(id)).toBe(true);
    await world.advance(1);
    expect(kept.messages.size).toBe(0);
    expect(recorder.all("expired")).toMatchObject([{ id }]);
    expect(recorder.all("notification")).toEqual([]);
  });

  test("giving up before that says too many retries, not expired", async () => {
    const lifetimes = { ...OPTIONS.lifetimes, backoff: () => null };
    const fixture = setUp({ script: () => "deferred", options: { lifetimes } });
    fixture.relay.hangs = ({ envelope }) => envelope.sender === "";
    await fixture.send("bob@one.test");
    expect(fixture.recorder.all("expired")).toEqual([]);
    expect(textOf(notifications(fixture)[0]!)).toContain("(Too many retries)");
  });
});

describe("waking", () => {
  test("idle: no timer and no looking at storage", async () => {
    const { world, faulty, send } = setUp();
    await world.advance(DAY);
    expect(faulty.calls("lease")).toBe(1);
    await send("bob@one.test");
    // What looked after the lease of that message notices that there is none.
    await world.advance(2 * MINUTE);
    expect(world.timers()).toEqual([]);
    await world.advance(DAY);
    expect(faulty.calls("lease")).toBeLessThanOrEqual(2);
  });

  test("with mail that waits for its time: one timer, set to that time", async () => {
    const { world, send } = busy();
    for (let count = 0; count < 3; count += 1) await send(`bob@d${count}.test`);
    await world.advance(2 * MINUTE);
    expect(world.timers()).toEqual([world.clock.now() + 4 * MINUTE]);
  });

  test("what becomes due earlier than all that is known wakes at its own time", async () => {
    const { world, relay, send } = busy();
    await send("late@one.test");
    await world.advance(7 * MINUTE);
    expect(relay.calls).toHaveLength(3);
    await world.advance(10 * SECOND);
    await send("soon@two.test");
    await world.advance(MINUTE - 1);
    expect(relay.calls).toHaveLength(4);
    await world.advance(1);
    expect(relay.calls).toHaveLength(5);
  });

  test("what becomes due while a look at storage is under way is not overslept", async () => {
    const { world, relay, faulty, control, send } = busy();
    await send("one@one.test");
    await world.advance(6 * MINUTE);
    const late = await send("two@two.test");
    const before = relay.calls.length;
    const release = faulty.stall("nextDue");
    // The look takes everything, and then is slow to learn when to look again.
    expect(await control.flush()).toBe(2);
    await world.advance(0);
    expect(relay.calls.length - before).toBe(2);
    await control.retry(late);
    release();
    await world.advance(0);
    expect(relay.calls.length - before).toBe(3);
  });

  test("a notification that is stored is delivered at once, also behind a timer for later", async () => {
    const { world, relay, send } = setUp({
      script: ({ address }) => (address.startsWith("bad") ? "rejected" : "deferred"),
    });
    await send("slow@one.test");
    await world.advance(MINUTE);
    const before = relay.calls.length;
    await send("bad@two.test");
    await world.advance(0);
    expect(relay.calls.slice(before).map(({ addresses }) => addresses[0])).toEqual([
      "bad@two.test",
      "alice@sender.test",
    ]);
  });

  test("many messages due at the same instant are one look", async () => {
    const { world, faulty, send } = busy();
    for (let count = 0; count < 30; count += 1) await send(`bob@d${count}.test`);
    const before = faulty.calls("lease");
    await world.advance(MINUTE);
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(3);
  });
});

describe("the time of an attempt", () => {
  test("an attempt that outlives its time is ended and deferred", async () => {
    const { world, relay, send, recorder } = setUp();
    relay.hangs = () => true;
    await send("bob@one.test");
    await world.advance(HOUR - 1);
    expect(relay.hanging).toBe(1);
    relay.hangs = () => false;
    await world.advance(2 * MINUTE);
    expect(relay.hanging).toBe(0);
    expect(recorder.all("delivery")[0]).toMatchObject({ status: "deferred", attempt: 1 });
    await world.advance(MINUTE);
    expect(relay.calls).toHaveLength(2);
  });

  test("mail that waits longer than a lease lasts is delivered once", async () => {
    const { world, relay, send, kept, faulty } = setUp();
    relay.hangs = () => true;
    for (let count = 0; count < 30; count += 1) await send("bob@one.test");
    await world.advance(HOUR - MINUTE);
    expect(relay.hanging).toBe(5);
    relay.hangs = () => false;
    relay.release();
    await world.advance(DAY);
    expect(relay.calls).toHaveLength(30);
    expect(kept.messages.size).toBe(0);
    expect(faulty.calls("renew")).toBeGreaterThan(10);
  });

  test("a lease is as short as it is set, and is renewed three times before it would end", async () => {
    const leaseMs = 30 * SECOND;
    const { world, relay, send, faulty, kept } = setUp({ options: { leaseMs } });
    relay.hangs = () => true;
    await send("bob@one.test");
    await world.advance(MINUTE);
    expect(faulty.calls("renew")).toBe(7);
    await world.advance(10 * MINUTE);
    const now = world.clock.now();
    expect(await kept.lease(now, 9, { holder: "other", until: now + leaseMs })).toEqual([]);
    expect(relay.calls).toHaveLength(1);
  });

  test("when leases cannot be renewed, a message that comes again is not started twice", async () => {
    const { world, relay, send, faulty, control, kept } = setUp();
    relay.hangs = () => true;
    faulty.fail("renew");
    await send("bob@one.test");
    await world.advance(20 * MINUTE);
    // Storage takes the lease to be over, and gives the message out again.
    await control.flush();
    await world.advance(4 * MINUTE);
    expect(relay.calls).toHaveLength(1);
    relay.release();
    await world.settle();
    expect(kept.messages.size).toBe(0);
  });

  test("a process that stood still for longer than its leases breaks off what it had under way", async () => {
    const still = simWorld();
    let stoodStillMs = 0;
    const clock = { ...still.clock, now: () => still.clock.now() + stoodStillMs };
    const kept = new FakeStorage(clock);
    const { relay, send, recorder } = setUp({
      parts: { world: { ...still, clock }, storage: kept },
    });
    relay.hangs = () => true;
    const id = await send("bob@one.test");
    expect(relay.hanging).toBe(1);
    stoodStillMs = 16 * MINUTE;
    const [lease] = await kept.lease(clock.now(), 9, {
      holder: "other",
      until: clock.now() + HOUR,
    });
    expect(lease?.id).toBe(id);
    await still.advance(MINUTE);
    expect(relay.hanging).toBe(0);
    expect(recorder.all("delivery")).toEqual([]);
    expect(recorder.all("destination")).toEqual([]);
    expect(await kept.get(id)).toMatchObject({ attempts: 0, state: "active" });
    // What it takes from now on has all its time.
    await send("carol@two.test");
    await still.advance(MINUTE);
    expect(relay.hanging).toBe(1);
  });
});
