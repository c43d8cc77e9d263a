import { describe, expect, test } from "bun:test";
import { CorruptError, LostLeaseError, NotFoundError } from "../../src/storage/storage.ts";
import { HOUR, MINUTE, mail, SECOND, setUp } from "./queue-fixture.ts";

describe("P7: storage that fails and recovers", () => {
  test("a settlement is offered again until it is taken: nothing is delivered twice", async () => {
    const { faulty, send, world, relay, kept, recorder } = setUp();
    faulty.fail("settle");
    for (let count = 0; count < 10; count += 1) await send(`x@d${count}.test`);
    await world.advance(HOUR);
    expect(kept.messages.size).toBe(10);
    expect(relay.calls).toHaveLength(10);
    faulty.heal("settle");
    await world.advance(SECOND);
    expect(kept.messages.size).toBe(0);
    await world.advance(HOUR);
    expect(relay.calls).toHaveLength(10);
    // Told once, not once for each message and try.
    expect(recorder.all("storage")).toEqual([
      { kind: "storage", state: "failing", operation: "settle", reason: "EIO" },
      { kind: "storage", state: "recovered", operation: "settle", reason: "" },
    ]);
  });

  test("a settlement whose answer was lost is not made twice", async () => {
    const { faulty, send, world, relay, kept } = setUp({
      script: ({ address }) => (address.startsWith("bad") ? "rejected" : "delivered"),
    });
    faulty.failAfter("settle");
    await send("bad@one.test");
    faulty.heal("settle");
    await world.advance(MINUTE);
    expect(relay.calls.map(({ addresses }) => addresses[0])).toEqual([
      "bad@one.test",
      "alice@sender.test",
    ]);
    expect(kept.messages.size).toBe(0);
  });

  test("mail whose acceptance was lost on the way to the client goes out when its lease ends", async () => {
    for (const start of [undefined, false] as const) {
      const { faulty, queue, world, relay, kept } = setUp(start === undefined ? {} : { start });
      faulty.failAfter("write");
      await expect(queue.enqueue(mail("x@one.test"))).rejects.toThrow("EIO");
      faulty.heal("write");
      if (start === false) queue.start();
      expect(kept.messages.size).toBe(1);
      await world.advance(HOUR);
      expect(relay.calls).toHaveLength(1);
      expect(kept.messages.size).toBe(0);
    }
  });

  test("settlements that storage is slow with hold up no more than a bounded number", async () => {
    const { faulty, queue, world, relay, kept } = setUp({ options: { waitingMax: 5000 } });
    const release = faulty.stall("settle");
    for (let count = 0; count < 3000; count += 1) {
      await queue.enqueue(mail(`x@d${count % 100}.test`));
    }
    await world.settle();
    expect(relay.calls.length).toBeGreaterThanOrEqual(2000);
    expect(relay.calls.length).toBeLessThanOrEqual(2000 + 50);
    release();
    await world.settle();
    await world.advance(2 * SECOND);
    expect(kept.messages.size).toBe(0);
    expect(relay.calls).toHaveLength(3000);
  });

  test("after a long failure the latest lease whose answer was lost is looked for, too", async () => {
    const { faulty, queue, send, world, relay, kept } = setUp({ start: false });
    await send("x@one.test");
    faulty.fail("lease");
    queue.start();
    await world.settle();
    await world.advance(10 * MINUTE);
    faulty.heal("lease");
    faulty.failAfter("lease");
    await world.advance(1.5 * SECOND);
    faulty.heal("lease");
    await world.advance(HOUR);
    expect(relay.calls).toHaveLength(1);
    expect(kept.messages.size).toBe(0);
  });

  test("a lease that fails is asked for again after a pause, not in a loop", async () => {
    const { faulty, queue, send, world, relay, recorder, kept } = setUp({ start: false });
    for (let count = 0; count < 10; count += 1) await send("x@one.test");
    faulty.fail("lease");
    queue.start();
    await world.settle();
    await send("x@two.test");
    await world.advance(10 * SECOND);
    expect(faulty.calls("lease")).toBeLessThanOrEqual(12);
    expect(recorder.all("storage")).toHaveLength(1);
    faulty.heal("lease");
    await world.advance(2 * SECOND);
    expect(kept.messages.size).toBe(0);
    expect(relay.calls).toHaveLength(11);
    expect(recorder.all("storage").map(({ state }) => state)).toEqual(["failing", "recovered"]);
  });

  test("while storage is left alone, nothing that happens makes it be asked earlier", async () => {
    const { faulty, world, send, control } = setUp();
    faulty.fail("lease");
    await send("x@one.test");
    await control.flush();
    await world.advance(0);
    const before = faulty.calls("lease");
    for (let count = 0; count < 100; count += 1) {
      await control.flush();
      await world.advance(5);
    }
    expect(faulty.calls("lease") - before).toBeLessThanOrEqual(1);
  });

  test("nextDue that fails loses nothing either", async () => {
    const { faulty, queue, send, world, kept } = setUp({ start: false, script: () => "deferred" });
    faulty.fail("nextDue");
    await send("x@one.test", { sender: "" });
    queue.start();
    await world.advance(MINUTE);
    faulty.heal("nextDue");
    await world.advance(2 * MINUTE);
    expect([...kept.messages.values()][0]?.attempts).toBe(2);
  });

  test("what cannot be read while all of the storage is in trouble goes out as soon as that is over", async () => {
    const { faulty, send, world, relay, kept, queue } = setUp({ start: false });
    const refusing = kept as { refusal(): string | undefined };
    for (let count = 0; count < 5; count += 1) await send(`x@d${count}.test`);
    refusing.refusal = () => "the server cannot be reached";
    faulty.fail("get");
    queue.start();
    await world.advance(10 * SECOND);
    expect(relay.calls).toHaveLength(0);
    refusing.refusal = () => undefined;
    faulty.heal("get");
    await world.advance(2 * SECOND);
    expect(relay.calls).toHaveLength(5);
  });

  test("a message that cannot be read is set aside for a minute; others flow", async () => {
    const { faulty, queue, send, world, relay, kept } = setUp({ start: false });
    const ids: string[] = [];
    for (let count = 0; count < 100; count += 1) ids.push(await send("x@one.test"));
    const [bad] = ids;
    faulty.fail("get", new Error("EIO"), (id) => id === bad);
    queue.start();
    await world.settle();
    await world.advance(10 * SECOND);
    expect(kept.messages.size).toBe(1);
    expect(relay.calls).toHaveLength(99);
    const reads = faulty.calls("get");
    await world.advance(10 * MINUTE);
    expect(faulty.calls("get") - reads).toBeLessThanOrEqual(11);
    expect(kept.messages.get(bad!)?.attempts).toBe(0);
    faulty.heal("get");
    await world.advance(MINUTE);
    expect(kept.messages.size).toBe(0);
  });

  test("when nothing can be read or written, the queue does not spin", async () => {
    const { faulty, queue, send, world, relay, kept } = setUp({ start: false });
    for (let count = 0; count < 20; count += 1) await send("x@one.test");
    faulty.fail("get");
    faulty.fail("settle");
    queue.start();
    await world.advance(MINUTE);
    expect(faulty.calls("lease")).toBeLessThanOrEqual(70);
    expect(faulty.calls("get")).toBeLessThanOrEqual(70 * 20);
    faulty.heal("get");
    faulty.heal("settle");
    await world.advance(MINUTE);
    expect(kept.messages.size).toBe(0);
    expect(relay.calls).toHaveLength(20);
  });

  test("a release that fails is repeated, and the mail found when it is done", async () => {
    const { faulty, send, world, relay, kept } = setUp({ script: () => "down" });
    faulty.fail("release");
    relay.hangs = () => true;
    for (let count = 0; count < 15; count += 1) await send("x@one.test", { sender: "" });
    relay.hangs = () => false;
    relay.release();
    await world.settle();
    relay.script = () => "delivered";
    await world.advance(10 * SECOND);
    expect(relay.calls).toHaveLength(5);
    faulty.heal("release");
    await world.advance(2 * SECOND);
    expect(relay.calls).toHaveLength(15);
    await world.advance(MINUTE);
    expect(kept.messages.size).toBe(0);
  });
});

describe("P6: messages that are gone", () => {
  for (const error of [new NotFoundError("gone"), new CorruptError("damaged")]) {
    test(`${error.name} is passed over, and nothing is told or tried again`, async () => {
      const { faulty, queue, send, world, relay, recorder } = setUp({ start: false });
      const bad = await send("x@one.test");
      await send("x@one.test");
      faulty.fail("get", error, (id) => id === bad);
      queue.start();
      await world.advance(10 * SECOND);
      expect(relay.calls).toHaveLength(1);
      expect(recorder.all("storage")).toEqual([]);
      expect(faulty.calls("get")).toBe(2);
    });
  }

  test("a lease that was lost: what was done is not recorded, and not tried for ever", async () => {
    const { faulty, send, world, recorder } = setUp();
    faulty.fail("settle", new LostLeaseError("lost"));
    await send("x@one.test");
    await world.advance(10 * SECOND);
    expect(faulty.calls("settle")).toBe(1);
    expect(recorder.all("lifecycle")).toMatchObject([{ what: "warning" }]);
    expect(recorder.all("removed")).toEqual([]);
  });
});
