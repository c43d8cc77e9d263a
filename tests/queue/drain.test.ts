import { describe, expect, test } from "bun:test";
import { HOUR, LIFETIME, MINUTE, mail, notifications, SECOND, setUp } from "./queue-fixture.ts";

const patient = () => new AbortController().signal;

describe("P10: a clean stop", () => {
  test("nothing more is started, what runs is finished, what waits is given back", async () => {
    const { relay, send, queue, world, kept, faulty } = setUp();
    relay.hangs = () => true;
    const ids: string[] = [];
    for (let count = 0; count < 8; count += 1) ids.push(await send("x@one.test"));
    let isDrained = false;
    const drained = queue.drain(patient()).then(() => {
      isDrained = true;
    });
    await world.advance(MINUTE);
    expect(isDrained).toBe(false);
    expect(ids.map((id) => kept.messages.get(id)?.lease === undefined)).toEqual([
      ...Array.from({ length: 5 }, () => false),
      ...Array.from({ length: 3 }, () => true),
    ]);
    relay.hangs = () => false;
    relay.release();
    await drained;
    expect(relay.calls).toHaveLength(5);
    expect(kept.messages.size).toBe(3);
    const looks = faulty.calls("lease");
    await world.advance(HOUR);
    expect(faulty.calls("lease")).toBe(looks);
    expect(world.timers()).toEqual([]);
  });

  test("an abort breaks off what runs: no attempt is counted, no time lost, nothing is said", async () => {
    const { relay, send, queue, world, kept, recorder } = setUp();
    relay.hangs = () => true;
    const id = await send("x@one.test");
    const { due } = kept.messages.get(id)!;
    const abort = new AbortController();
    const drained = queue.drain(abort.signal);
    await world.advance(SECOND);
    abort.abort();
    await drained;
    expect(kept.messages.get(id)).toMatchObject({ attempts: 0, due, lease: undefined });
    expect(recorder.all("delivery")).toEqual([]);
    expect(recorder.all("destination")).toEqual([]);
  });

  test("a message that was just being read at the abort is broken off too", async () => {
    const { relay, queue, world, kept, faulty } = setUp();
    relay.hangs = () => true;
    const release = faulty.stall("get");
    await queue.enqueue(mail("x@one.test"));
    await world.settle();
    const drained = queue.drain(AbortSignal.abort());
    release();
    await drained;
    expect([...kept.messages.values()]).toMatchObject([{ attempts: 0, lease: undefined }]);
  });

  test("an abort that came before the drain counts too", async () => {
    const { relay, send, queue, kept } = setUp();
    relay.hangs = () => true;
    await send("x@one.test");
    await queue.drain(AbortSignal.abort());
    expect([...kept.messages.values()]).toMatchObject([{ attempts: 0, lease: undefined }]);
  });

  test("whoever was delivered before the abort is settled, with the notice that was asked for", async () => {
    const fixture = setUp();
    const { relay, send, queue, kept, recorder } = fixture;
    relay.hangs = () => true;
    const deliver = relay.deliver;
    relay.deliver = async (delivery, signal) => {
      const outcomes = await deliver(delivery, signal);
      return outcomes.map((outcome) =>
        outcome.recipient === 0
          ? { ...outcome, kind: "delivered" as const, dsnRelayed: false }
          : outcome,
      );
    };
    const id = await send([], {
      recipients: [
        { index: 0, address: "a@one.test", notify: ["SUCCESS"] },
        { index: 1, address: "b@one.test" },
      ],
    });
    await queue.drain(AbortSignal.abort());
    const message = kept.messages.get(id)!;
    expect(message.attempts).toBe(0);
    expect([...message.changes.values()]).toMatchObject([{ index: 0, status: "delivered" }]);
    expect(recorder.all("delivery")).toMatchObject([{ recipient: "a@one.test", status: "sent" }]);
    expect(recorder.all("notification")).toMatchObject([{ id, action: "relayed" }]);
    expect(notifications(fixture)).toHaveLength(1);
    expect(recorder.all("removed")).toEqual([]);
  });

  test("a message that was delivered to all before the abort is removed", async () => {
    const { relay, send, queue, kept, recorder } = setUp();
    relay.hangs = () => true;
    const deliver = relay.deliver;
    relay.deliver = async (delivery, signal) =>
      (await deliver(delivery, signal)).map((outcome) => ({ ...outcome, kind: "delivered" }));
    const id = await send(["a@one.test", "b@one.test"]);
    await queue.drain(AbortSignal.abort());
    expect(kept.messages.size).toBe(0);
    expect(recorder.all("removed")).toEqual([{ kind: "removed", id }]);
  });

  test("mail that arrives while draining is kept, unleased, and not started", async () => {
    const { relay, queue, world, kept, faulty } = setUp();
    await world.settle();
    const release = faulty.stall("write");
    const sent = queue.enqueue(mail("x@one.test"));
    await world.settle();
    await queue.drain(patient());
    release();
    await sent;
    await queue.enqueue(mail("y@one.test"));
    await world.advance(HOUR);
    expect(relay.calls).toHaveLength(0);
    expect([...kept.messages.values()].map(({ lease }) => lease)).toEqual([undefined, undefined]);
  });

  test("a look at storage that is under way leaves no leases behind", async () => {
    const { relay, queue, send, world, kept, faulty } = setUp({ start: false });
    for (let count = 0; count < 5; count += 1) await send("x@one.test");
    const release = faulty.stall("lease");
    queue.start();
    await world.settle();
    const drained = queue.drain(patient());
    release();
    await drained;
    expect(relay.calls).toHaveLength(0);
    expect([...kept.messages.values()].every(({ lease }) => lease === undefined)).toBe(true);
  });

  test("waits for settlements; the abort ends the wait for storage that fails", async () => {
    const { send, queue, world, kept, faulty } = setUp();
    faulty.fail("settle");
    await send("x@one.test");
    const abort = new AbortController();
    let isDrained = false;
    const drained = queue.drain(abort.signal).then(() => {
      isDrained = true;
    });
    await world.advance(10 * SECOND);
    expect(isDrained).toBe(false);
    expect(kept.messages.size).toBe(1);
    abort.abort();
    await drained;
    expect(world.timers()).toEqual([]);
  });

  // A full disk takes no settlement and refuses none: TERM used to wait for somebody to make room.
  test("after the abort, storage that never answers is not waited for", async () => {
    const { send, queue, world, kept, faulty } = setUp();
    const release = faulty.stall("settle");
    const id = await send("x@one.test");
    const abort = new AbortController();
    let isDrained = false;
    const drained = queue.drain(abort.signal).then(() => {
      isDrained = true;
    });
    await world.advance(HOUR);
    expect(isDrained).toBe(false);
    abort.abort();
    await world.advance(SECOND);
    expect(isDrained).toBe(false);
    await world.advance(SECOND);
    await drained;
    expect(world.timers()).toEqual([]);
    expect(kept.messages.has(id)).toBe(true);
    release();
    await world.settle();
    expect(kept.messages.has(id)).toBe(false);
  });

  test("nor is a look for due mail", async () => {
    const { queue, world, faulty, send, relay, kept } = setUp({ start: false });
    const id = await send("x@one.test");
    const release = faulty.stall("lease");
    queue.start();
    await world.settle();
    const abort = new AbortController();
    const drained = queue.drain(abort.signal);
    abort.abort();
    await world.advance(2 * SECOND);
    await drained;
    expect(world.timers()).toEqual([]);
    release();
    await world.settle();
    expect(relay.calls).toHaveLength(0);
    expect(kept.messages.get(id)?.lease).toBeUndefined();
  });

  test("start after a drain starts nothing; a drain without anything to do ends at once", async () => {
    const { queue, send, relay, world } = setUp({ start: false });
    await queue.drain(patient());
    queue.start();
    await send("x@one.test");
    await world.advance(LIFETIME);
    expect(relay.calls).toHaveLength(0);
  });
});
