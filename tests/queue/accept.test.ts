import { describe, expect, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import { reply } from "../../src/mail/reply.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { recipientSplit } from "../../src/policy/split.ts";
import { mail, setUp } from "./queue-fixture.ts";

const upperSender: Policy = (envelope) => [{ ...envelope, sender: envelope.sender.toUpperCase() }];

describe("P2: all or nothing", () => {
  test("policies run before storage, in their order, and later ones after earlier ones", async () => {
    const { queue, kept } = setUp({ options: { policies: [recipientSplit] }, start: false });
    queue.addPolicy(upperSender);
    const ids = await queue.enqueue(mail(["a@one.test", "b@two.test"]));
    expect(ids).toHaveLength(2);
    const stored = ids.map((id) => kept.messages.get(id)!.envelope);
    expect(stored.map(({ sender }) => sender)).toEqual(["ALICE@SENDER.TEST", "ALICE@SENDER.TEST"]);
    expect(stored.map(({ recipients }) => recipients[0]?.address)).toEqual([
      "a@one.test",
      "b@two.test",
    ]);
  });

  test("all that policies make is one write", async () => {
    const { queue, faulty } = setUp({ options: { policies: [recipientSplit] }, start: false });
    await queue.enqueue(mail(["a@one.test", "b@two.test", "c@three.test"]));
    expect(faulty.calls("write")).toBe(1);
  });

  test("a policy that refuses leaves nothing and its reply reaches the caller", async () => {
    const refuse: Policy = () => {
      throw new QueueError("no", { reply: reply(550, "5.7.1", "Not here") });
    };
    const { queue, kept, recorder } = setUp({ options: { policies: [recipientSplit, refuse] } });
    const refused = queue.enqueue(mail(["a@one.test", "b@two.test"]));
    await expect(refused).rejects.toMatchObject({ reply: { code: 550 } });
    expect(kept.messages.size).toBe(0);
    expect(recorder.events).toEqual([]);
  });

  test("no recipients: 554, and nothing is stored", async () => {
    const { queue, faulty } = setUp();
    await expect(queue.enqueue(mail([]))).rejects.toMatchObject({ reply: { code: 554 } });
    expect(faulty.calls("write")).toBe(0);
  });

  test("a failed write rejects, tells of nothing, delivers nothing and gives its places back", async () => {
    const options = { waitingMax: 1, waitingPerDestinationMax: 1 };
    const { queue, faulty, relay, recorder, send, world } = setUp({ options });
    faulty.fail("write", new QueueError("full", { reply: reply(452, "4.3.1", "Full") }));
    for (let count = 0; count < 5; count += 1) {
      await expect(queue.enqueue(mail("bob@one.test"))).rejects.toMatchObject({
        reply: { code: 452 },
      });
    }
    await world.settle();
    expect(relay.calls).toHaveLength(0);
    expect(recorder.events).toEqual([]);
    faulty.heal("write");
    await send("bob@one.test");
    expect(relay.calls).toHaveLength(1);
    // Were a place lost at each failure, this one would have to wait in storage.
    expect(recorder.all("delivery")).toHaveLength(1);
  });

  test("mail sent away for want of a place that a failed write held is delivered at once", async () => {
    const options = { waitingMax: 1, waitingPerDestinationMax: 1 };
    const { queue, faulty, relay, world } = setUp({ options });
    await world.settle();
    const release = faulty.stall("write");
    const first = queue.enqueue(mail("bob@one.test"));
    await world.settle();
    // What comes after it finds no stall any more, and overtakes it.
    faulty.stall("write")();
    await queue.enqueue(mail("bob@one.test", { sender: "second@sender.test" }));
    await world.advance(0);
    expect(relay.calls).toHaveLength(0);
    faulty.fail("write", new QueueError("full"));
    release();
    await expect(first).rejects.toThrow("full");
    await world.settle();
    expect(relay.calls.map(({ envelope }) => envelope.sender)).toEqual(["second@sender.test"]);
  });
});

test("the accepted event comes first, then what becomes of the message", async () => {
  const { recorder, send } = setUp({ options: { policies: [recipientSplit] } });
  await send(["a@one.test", "b@two.test"]);
  expect(recorder.events.map(({ kind }) => kind)).toEqual([
    "accepted",
    "accepted",
    "delivery",
    "delivery",
    "removed",
    "removed",
  ]);
  const [first, second] = recorder.all("accepted");
  expect(first?.firstId).toBeUndefined();
  expect(second?.firstId).toBe(first?.id);
});

describe("accepting never waits for relaying", () => {
  test("with every delivery hanging and the window full, mail is still taken", async () => {
    const fixture = setUp({ options: { deliveriesMax: 5, waitingMax: 10 } });
    fixture.relay.hangs = () => true;
    for (let count = 0; count < 100; count += 1) {
      await fixture.send(`bob@d${count % 7}.test`);
    }
    expect(fixture.kept.messages.size).toBe(100);
    expect(fixture.relay.hanging).toBe(5);
    expect((await fixture.control.status()).waiting).toBe(10);
    fixture.relay.hangs = () => false;
    fixture.relay.release();
    await fixture.world.settle();
    await fixture.world.advance(2000);
    expect(fixture.kept.messages.size).toBe(0);
    expect(fixture.relay.calls).toHaveLength(100);
    expect(fixture.relay.mostAtOnce).toBeLessThanOrEqual(5);
  });

  test("one destination never gets more than its share of the window", async () => {
    const { relay, send, control } = setUp({ options: { waitingPerDestinationMax: 3 } });
    relay.hangs = () => true;
    for (let count = 0; count < 20; count += 1) await send("bob@one.test");
    expect(await control.status()).toMatchObject({ delivering: 5, waiting: 3 });
  });

  test("places are kept for what is being written: the window holds when all come at once", async () => {
    const { faulty, relay, queue, world, control } = setUp({ options: { waitingMax: 4 } });
    relay.hangs = () => true;
    const release = faulty.stall("write");
    const sent = Array.from({ length: 60 }, () => queue.enqueue(mail("bob@one.test")));
    await world.settle();
    release();
    await Promise.all(sent);
    expect((await control.status()).waiting).toBeLessThanOrEqual(4);
  });
});

describe("without a relay", () => {
  test("mail is kept and never attempted", async () => {
    const { queue, send, kept, world, control } = setUp({ relay: false });
    const id = await send("bob@one.test");
    await world.advance(86_400_000);
    expect(await control.flush()).toBe(1);
    await control.retry(id);
    await world.advance(86_400_000);
    expect(kept.messages.get(id)?.attempts).toBe(0);
    expect(world.timers()).toEqual([]);
    await queue.drain(new AbortController().signal);
  });

  test("before start, mail is kept; start delivers it", async () => {
    const { queue, send, relay, world } = setUp({ start: false });
    await send("bob@one.test");
    await world.advance(60_000);
    expect(relay.calls).toHaveLength(0);
    queue.start();
    await world.settle();
    expect(relay.calls).toHaveLength(1);
  });
});

describe("ids that are given", () => {
  test("are used, and storing them again changes nothing", async () => {
    const { queue, kept, world } = setUp({ start: false });
    const id = "0123456789ABCDEF";
    expect(await queue.enqueue(mail("bob@one.test"), id)).toEqual([id]);
    kept.messages.get(id)!.attempts = 7;
    expect(await queue.enqueue(mail("bob@one.test"), id)).toEqual([id]);
    expect(kept.messages.get(id)?.attempts).toBe(7);
    await world.settle();
  });

  test("are told of each time that somebody is told that the mail is stored", async () => {
    const { queue, recorder, faulty } = setUp({ start: false });
    const id = "0123456789ABCDEF";
    // The first answer is lost: nobody was told.
    faulty.failAfter("write");
    await expect(queue.enqueue(mail("bob@one.test"), id)).rejects.toThrow("EIO");
    expect(recorder.all("accepted")).toEqual([]);
    faulty.heal("write");
    for (const _ of [1, 2]) await queue.enqueue(mail("bob@one.test"), id);
    expect(recorder.all("accepted").map((event) => event.id)).toEqual([id, id]);
  });

  test("name every part of a split transaction the same way each time", async () => {
    const { queue, kept } = setUp({ options: { policies: [recipientSplit] }, start: false });
    const id = "0123456789ABCDEF";
    const envelope = mail(["a@one.test", "b@two.test", "c@three.test"]);
    const first = await queue.enqueue(envelope, id);
    expect(await queue.enqueue(envelope, id)).toEqual(first);
    expect(new Set(first).size).toBe(3);
    expect(kept.messages.size).toBe(3);
  });

  test("do not make a message be delivered twice that is under way", async () => {
    const { queue, relay, world, kept } = setUp();
    relay.hangs = () => true;
    await queue.enqueue(mail("bob@one.test"), "0123456789ABCDEF");
    await world.advance(0);
    expect(relay.hanging).toBe(1);
    await queue.enqueue(mail("bob@one.test"), "0123456789ABCDEF");
    await world.advance(60_000);
    expect(relay.calls).toHaveLength(1);
    relay.release();
    await world.settle();
    expect(kept.messages.size).toBe(0);
  });
});
