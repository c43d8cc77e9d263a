import { describe, expect, test } from "bun:test";
import { BusyError } from "../../src/queue/control.ts";
import { CorruptError } from "../../src/storage/storage.ts";
import {
  HOUR,
  LIFETIME,
  MINUTE,
  mail,
  notifications,
  OPTIONS,
  setUp,
  textOf,
} from "./queue-fixture.ts";

const VERBS = ["retry", "hold", "release", "remove", "bounce"] as const;
const UNKNOWN = "ZZZZZZZZZZZZZZZZ";

/** A queue that holds one deferred message. */
async function withDeferred() {
  const fixture = setUp({ script: () => "deferred" });
  const id = await fixture.send("bob@one.test");
  fixture.relay.hangs = ({ envelope }) => envelope.client.protocol === "LOCAL";
  return { ...fixture, id };
}

/** A queue that is delivering one message at this moment. */
async function withActive() {
  const fixture = setUp();
  fixture.relay.hangs = () => true;
  const id = await fixture.send("bob@one.test");
  return { ...fixture, id };
}

describe("every verb", () => {
  for (const verb of VERBS) {
    test(`${verb}: an unknown message is said to be unknown, and nothing is told`, async () => {
      const { control, recorder } = setUp();
      expect(await control[verb](UNKNOWN)).toBe(false);
      expect(recorder.events).toEqual([]);
    });

    test(`${verb}: is told once, with what it was done to`, async () => {
      const { control, recorder, id } = await withDeferred();
      if (verb === "release") await control.hold(id);
      const before = recorder.all("operator").length;
      expect(await control[verb](id)).toBe(true);
      expect(recorder.all("operator").slice(before)).toEqual([
        { kind: "operator", action: verb, subject: id, count: 1 },
      ]);
    });

    test(`${verb}: storage that fails rejects, and nothing is told`, async () => {
      const { control, recorder, faulty, id } = await withDeferred();
      for (const operation of ["setHeld", "settle", "setTimestamp", "remove"] as const) {
        faulty.fail(operation);
      }
      await expect(control[verb](id)).rejects.toThrow("EIO");
      expect(recorder.all("operator")).toEqual([]);
      expect(recorder.all("removed")).toEqual([]);
    });
  }

  test("hold and release of what is so already change nothing, and say so", async () => {
    const { control, recorder, id } = await withDeferred();
    expect(await control.release(id)).toBe(true);
    expect(await control.hold(id)).toBe(true);
    expect(await control.hold(id)).toBe(true);
    expect(recorder.all("operator").map(({ count }) => count)).toEqual([0, 1, 0]);
  });
});

describe("retry", () => {
  test("makes a message due now", async () => {
    const { control, relay, world, id } = await withDeferred();
    await control.retry(id);
    await world.advance(0);
    expect(relay.calls).toHaveLength(2);
  });

  test("trusts its destination again, and no other", async () => {
    const fixture = setUp({ script: () => "down" });
    const { send, control, recorder, world } = fixture;
    let id = "";
    for (const domain of ["one.test", "two.test"]) {
      for (let count = 0; count < 6; count += 1) id = await send(`x@${domain}`);
    }
    await control.retry(id);
    await world.settle();
    expect(recorder.all("destination").slice(2)).toMatchObject([
      { state: "resumed", destination: "two.test" },
    ]);
  });

  test("leaves a held message alone", async () => {
    const { control, relay, world, recorder, id } = await withDeferred();
    await control.hold(id);
    expect(await control.retry(id)).toBe(true);
    await world.advance(HOUR);
    expect(relay.calls).toHaveLength(1);
    expect(recorder.all("operator").at(-1)).toMatchObject({ action: "retry", count: 0 });
  });

  test("of a message that is being delivered starts no second delivery", async () => {
    const { control, relay, world, kept, id } = await withActive();
    expect(await control.retry(id)).toBe(true);
    await world.advance(MINUTE);
    expect(relay.calls).toHaveLength(1);
    relay.release();
    await world.settle();
    expect(kept.messages.size).toBe(0);
  });
});

describe("hold and release", () => {
  test("a held message is kept, also through a flush, until it is released", async () => {
    const { control, relay, world, id } = await withDeferred();
    await control.hold(id);
    await control.flush();
    await world.advance(2 * LIFETIME);
    expect(relay.calls).toHaveLength(1);
    relay.script = () => "delivered";
    await control.release(id);
    await world.advance(0);
    expect(relay.calls).toHaveLength(2);
  });

  test("a message that waits for its turn is not delivered once it is held", async () => {
    const fixture = setUp();
    const { relay, send, control, world, kept } = fixture;
    relay.hangs = () => true;
    const ids: string[] = [];
    for (let count = 0; count < 6; count += 1) ids.push(await send("x@one.test"));
    const last = ids.at(-1)!;
    expect((await control.status()).waiting).toBe(1);
    await control.hold(last);
    relay.hangs = () => false;
    relay.release();
    await world.settle();
    expect(relay.calls.map(({ id }) => id)).not.toContain(last);
    expect(kept.messages.get(last)).toMatchObject({ held: true, attempts: 0, lease: undefined });
    await control.release(last);
    await world.advance(0);
    expect(relay.calls.at(-1)?.id).toBe(last);
  });

  test("a message that is held while it is being delivered keeps what is left over", async () => {
    const { control, relay, world, kept, id } = await withActive();
    relay.script = () => "deferred";
    await control.hold(id);
    relay.release();
    await world.advance(HOUR);
    expect(kept.messages.get(id)).toMatchObject({ held: true, attempts: 1 });
    expect(relay.calls).toHaveLength(1);
  });
});

describe("remove", () => {
  test("drops without telling the sender, and tells that it is gone once", async () => {
    const { control, kept, recorder, world, id } = await withDeferred();
    expect(await control.remove(id)).toBe(true);
    expect(kept.messages.size).toBe(0);
    expect(recorder.all("removed")).toEqual([{ kind: "removed", id }]);
    expect(recorder.all("notification")).toEqual([]);
    await world.advance(HOUR);
    expect(recorder.all("storage")).toEqual([]);
  });

  test("while it is being delivered: nothing comes back, whatever the peer says", async () => {
    for (const says of ["delivered", "deferred", "rejected"] as const) {
      const { control, relay, world, kept, recorder, id } = await withActive();
      relay.script = () => says;
      expect(await control.remove(id)).toBe(true);
      relay.release();
      await world.advance(HOUR);
      expect(kept.messages.size).toBe(0);
      expect(recorder.all("removed")).toHaveLength(1);
      expect(recorder.all("storage")).toEqual([]);
      expect(relay.calls).toHaveLength(1);
    }
  });

  test("also of a message that cannot be read", async () => {
    for (const error of [new Error("EIO"), new CorruptError("damaged")]) {
      const { control, faulty, kept, id } = await withDeferred();
      faulty.fail("get", error);
      expect(await control.remove(id)).toBe(true);
      expect(kept.messages.size).toBe(0);
    }
  });
});

describe("bounce", () => {
  test("ends a message as expired, with the peer's last word, and tells the sender", async () => {
    const fixture = await withDeferred();
    const { control, kept, recorder, id } = fixture;
    expect(await control.bounce(id)).toBe(true);
    expect(kept.messages.has(id)).toBe(false);
    const [notice] = notifications(fixture);
    expect(textOf(notice!)).toContain("Status: 4.4.7");
    expect(textOf(notice!)).toContain("Busy (message expired)");
    expect(recorder.all("removed")).toEqual([{ kind: "removed", id }]);
    expect(recorder.all("expired")).toMatchObject([{ id }]);
  });

  test("of a message that was never tried says that the operator did it", async () => {
    const fixture = setUp({ start: false });
    const id = await fixture.send("bob@one.test");
    expect(await fixture.control.bounce(id)).toBe(true);
    expect(textOf(notifications(fixture)[0]!)).toContain("returned to its sender by the operator");
  });

  test("of a held message works too", async () => {
    const { control, kept, id } = await withDeferred();
    await control.hold(id);
    expect(await control.bounce(id)).toBe(true);
    expect(kept.messages.has(id)).toBe(false);
  });

  test("while it is being delivered: BusyError, and the delivery goes on undisturbed", async () => {
    const { control, relay, world, kept, recorder, faulty, id } = await withActive();
    await expect(control.bounce(id)).rejects.toBeInstanceOf(BusyError);
    // Not even held for a moment: letting go of it would make it due.
    expect(faulty.calls("setHeld")).toBe(0);
    relay.release();
    await world.settle();
    expect(kept.messages.size).toBe(0);
    expect(recorder.all("notification")).toEqual([]);
    expect(recorder.all("operator")).toEqual([]);
  });

  test("while its settlement waits for storage: BusyError, so that it ends once", async () => {
    const { control, relay, world, faulty, recorder, id } = await withActive();
    faulty.fail("settle");
    relay.release();
    await world.settle();
    await expect(control.bounce(id)).rejects.toBeInstanceOf(BusyError);
    faulty.heal("settle");
    await world.advance(MINUTE);
    expect(recorder.all("delivery").map(({ status }) => status)).toEqual(["sent"]);
  });

  test("when a delivery begins meanwhile, that is faster: BusyError, and no hold stays behind", async () => {
    const { control, relay, world, kept, faulty, id } = await withDeferred();
    relay.hangs = () => true;
    const release = faulty.stall("setHeld");
    const bounced = control.bounce(id);
    await world.advance(MINUTE);
    expect(relay.hanging).toBe(1);
    release();
    await expect(bounced).rejects.toBeInstanceOf(BusyError);
    expect(kept.messages.get(id)?.held).toBe(false);
  });

  test("of one that waits for its turn ends it at once", async () => {
    const { control, relay, world, kept, send, id } = await withActive();
    for (let count = 0; count < 4; count += 1) await send("x@one.test");
    const last = await send("x@one.test");
    expect(await control.bounce(last)).toBe(true);
    relay.hangs = () => false;
    relay.release();
    await world.settle();
    expect(relay.calls.map((call) => call.id)).not.toContain(last);
    expect(kept.messages.has(id)).toBe(false);
  });

  test("leased by another process: BusyError", async () => {
    const { control, kept, world, id } = await withDeferred();
    kept.messages.get(id)!.lease = { holder: "other", until: world.clock.now() + HOUR };
    await expect(control.bounce(id)).rejects.toBeInstanceOf(BusyError);
  });

  test("when it fails, no hold stays behind", async () => {
    const { control, kept, faulty, id } = await withDeferred();
    faulty.fail("settle");
    await expect(control.bounce(id)).rejects.toThrow("EIO");
    expect(kept.messages.get(id)?.held).toBe(false);
  });
});

describe("selectors", () => {
  async function withMany() {
    const fixture = setUp({ script: () => "deferred" });
    for (let count = 0; count < 3; count += 1) await fixture.send("x@one.test");
    for (let count = 0; count < 2; count += 1) {
      await fixture.send("x@two.test", { sender: "carol@sender.test" });
    }
    return fixture;
  }

  test("name messages by state, domain and sender; each applies a verb to all of them", async () => {
    const { control, recorder } = await withMany();
    expect(await control.each("hold", { domain: "one.test" })).toBe(3);
    expect(await control.each("hold", {})).toBe(2);
    expect(await control.each("release", { state: "hold", sender: "carol@sender.test" })).toBe(2);
    expect(await control.each("remove", { state: "deferred" })).toBe(2);
    expect(recorder.all("operator")).toEqual([
      { kind: "operator", action: "hold", subject: "domain=one.test", count: 3 },
      { kind: "operator", action: "hold", subject: "all", count: 2 },
      {
        kind: "operator",
        action: "release",
        subject: "state=hold sender=<carol@sender.test>",
        count: 2,
      },
      { kind: "operator", action: "remove", subject: "state=deferred", count: 2 },
    ]);
    expect(recorder.all("removed")).toHaveLength(2);
  });

  test("a flush with a selector retries those alone", async () => {
    const { control, world, relay, faulty } = await withMany();
    expect(await control.flush({ domain: "two.test" })).toBe(2);
    await world.advance(0);
    expect(relay.calls.slice(5).map(({ addresses }) => addresses[0])).toEqual([
      "x@two.test",
      "x@two.test",
    ]);
    expect(faulty.calls("flush")).toBe(0);
  });

  test("one that is being delivered does not stop the others from being bounced", async () => {
    const { control, relay, kept, send, world } = await withMany();
    relay.hangs = () => true;
    const active = await send("x@one.test");
    expect(await control.each("bounce", { domain: "one.test" })).toBe(3);
    expect(kept.messages.get(active)?.held).toBe(false);
    await world.settle();
  });

  test("more than a page is worked off, and storage is not asked for what the page says", async () => {
    const { control, queue, kept, faulty, world } = setUp({ start: false });
    for (let count = 0; count < 1100; count += 1) await queue.enqueue(mail("x@one.test"));
    expect(await control.each("retry", {})).toBe(1100);
    expect(faulty.calls("get")).toBe(0);
    expect(await control.each("remove", {})).toBe(1100);
    expect(kept.messages.size).toBe(0);
    await world.settle();
  });

  test("storage that fails in the middle rejects, and what was done is told", async () => {
    const { control, faulty, recorder, kept } = await withMany();
    const doomed = [...kept.messages.keys()].at(-1);
    faulty.fail("remove", new Error("EIO"), (id) => id === doomed);
    await expect(control.each("remove", {})).rejects.toThrow("EIO");
    expect(recorder.all("operator")).toMatchObject([{ action: "remove", count: 4 }]);
    expect(kept.messages.size).toBe(1);
  });
});

describe("what operators see", () => {
  test("a message with all that is known of its recipients, and when it expires", async () => {
    const { control, world, send, relay } = setUp();
    relay.script = ({ index }) => (index === 0 ? "delivered" : "deferred");
    const id = await send(["a@one.test", "b@one.test"]);
    expect(await control.show(id)).toMatchObject({
      id,
      state: "deferred",
      attempts: 1,
      recipientCount: 2,
      domain: "one.test",
      due: world.clock.now() + MINUTE,
      expiresAt: world.clock.now() + LIFETIME,
      recipients: [
        { index: 0, status: "delivered", relay: "mx.test[192.0.2.25]:25" },
        { index: 1, status: "pending", reply: { enhanced: "4.2.0" } },
      ],
    });
    expect(await control.show(UNKNOWN)).toBeUndefined();
  });

  test("the status of the queue and of the busiest destinations, a bounded number of them", async () => {
    const { control, relay, send, world } = setUp();
    relay.hangs = () => true;
    for (let count = 0; count < 30; count += 1) await send(`x@d${count}.test`);
    for (let count = 0; count < 8; count += 1) await send("x@busy.test");
    const status = await control.status();
    expect(status).toMatchObject({ size: 38, delivering: 35, waiting: 3, nextDue: null });
    expect(status.destinations).toHaveLength(20);
    expect(status.destinations[0]).toEqual({
      destination: "busy.test",
      delivering: 5,
      waiting: 3,
      limit: OPTIONS.throttle.limitStart,
      suspendedUntil: null,
      lastFailure: null,
    });
    await world.settle();
  });
});
