import { describe, expect, test } from "bun:test";
import { byDomain } from "../support/scripted-relay.ts";
import {
  callsTo,
  DAY,
  DOWN,
  MINUTE,
  mail,
  notifications,
  OPTIONS,
  SECOND,
  setUp,
  suspend,
  textOf,
} from "./queue-fixture.ts";

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

  test("a deep pile of due mail is taken in portions, between which others have their turn", async () => {
    const fixture = setUp({ start: false, options: { waitingMax: 10_000 } });
    const { kept, queue, relay, world } = fixture;
    const limits: number[] = [];
    const lease = kept.lease.bind(kept);
    kept.lease = (now, limit, options) => {
      limits.push(limit);
      return lease(now, limit, options);
    };
    for (let count = 0; count < 2000; count += 1)
      await queue.enqueue(mail(`x@d${count % 40}.test`));
    queue.start();
    await world.settle();
    await world.advance(SECOND);
    expect(Math.max(...limits)).toBeLessThanOrEqual(500);
    expect(relay.calls).toHaveLength(2000);
    expect(kept.messages.size).toBe(0);
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
