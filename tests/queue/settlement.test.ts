import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Notify } from "../../src/mail/envelope.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import type { RecipientStatus } from "../../src/storage/storage.ts";
import { byDomain, type Said } from "../support/scripted-relay.ts";
import {
  type Fixture,
  HOUR,
  MINUTE,
  mail,
  notifications,
  OPTIONS,
  SECOND,
  setUp,
  textOf,
} from "./queue-fixture.ts";

const ALL = byDomain({
  "ok.test": "delivered",
  "busy.test": "deferred",
  "bad.test": "rejected",
});

/** The settlements of one message, as `{ index: status }`. */
function settlementsOf({ kept }: Fixture, id: string): Record<number, RecipientStatus>[] {
  return kept.settled
    .filter((each) => each.id === id)
    .map(({ settlement: { recipients = [] } }) =>
      Object.fromEntries(recipients.map(({ index, status }) => [index, status])),
    );
}

const TOLD = {
  pending: "deferred",
  delivered: "sent",
  bounced: "bounced",
  dropped: "bounced",
} as const;

describe("P3: one settlement for each attempt", () => {
  const cases: readonly [string, readonly string[], Record<number, RecipientStatus>, boolean][] = [
    ["delivered", ["a@ok.test"], { 0: "delivered" }, true],
    ["deferred", ["a@busy.test"], { 0: "pending" }, false],
    ["rejected", ["a@bad.test"], { 0: "bounced" }, true],
    ["delivered and rejected", ["a@ok.test", "b@bad.test"], { 0: "delivered", 1: "bounced" }, true],
    [
      "delivered and deferred",
      ["a@ok.test", "b@busy.test"],
      { 0: "delivered", 1: "pending" },
      false,
    ],
    [
      "all three",
      ["a@busy.test", "b@bad.test", "c@ok.test"],
      { 0: "pending", 1: "bounced", 2: "delivered" },
      false,
    ],
  ];
  for (const [name, to, settled, isFinished] of cases) {
    test(name, async () => {
      const fixture = setUp({ script: ALL });
      const { send, kept, recorder, world } = fixture;
      // What bounces is looked at, not delivered.
      fixture.relay.hangs = ({ envelope }) => envelope.sender === "";
      const id = await send(to);
      expect(settlementsOf(fixture, id)).toEqual([settled]);
      const [settlement] = kept.settled;
      expect(settlement?.settlement.attempts).toBe(1);
      expect(settlement?.settlement.due).toBe(isFinished ? undefined : world.clock.now() + MINUTE);
      expect(kept.messages.has(id)).toBe(!isFinished);
      expect(recorder.all("removed")).toHaveLength(isFinished ? 1 : 0);
      const told = recorder.all("delivery").map(({ status }) => status);
      expect(told.toSorted()).toEqual(
        Object.values(settled)
          .map((each) => TOLD[each])
          .toSorted(),
      );
    });
  }

  test("a recipient that the relay says nothing of is tried again", async () => {
    const fixture = setUp();
    const { relay, send, world } = fixture;
    const deliver = relay.deliver;
    relay.deliver = async (delivery, signal) => (await deliver(delivery, signal)).slice(0, 1);
    const id = await send(["a@ok.test", "b@ok.test"]);
    expect(settlementsOf(fixture, id)).toEqual([{ 0: "delivered", 1: "pending" }]);
    await world.advance(MINUTE);
    expect(relay.calls.map(({ indexes }) => indexes)).toEqual([[0, 1], [1]]);
  });

  test("the facts of an attempt are told before the message is", async () => {
    const { recorder, send, relay } = setUp({ script: ALL });
    relay.hangs = ({ envelope }) => envelope.sender === "";
    await send("b@bad.test");
    expect(recorder.events.map(({ kind }) => kind)).toEqual([
      "accepted",
      "delivery",
      "accepted",
      "notification",
      "removed",
    ]);
  });
});

describe("P4: bounces are never lost", () => {
  test("a bounce is stored in the settlement that makes it due, and delivered at once", async () => {
    const { kept, send, relay, world } = setUp({ script: ALL });
    await send("b@bad.test");
    expect(kept.settled[0]?.bounces).toHaveLength(1);
    await world.advance(0);
    expect(relay.calls.map(({ addresses }) => addresses[0])).toEqual([
      "b@bad.test",
      "alice@sender.test",
    ]);
    expect(kept.messages.size).toBe(0);
  });

  test("another bounce queue has it before the settlement; without that nothing is settled", async () => {
    const order: string[] = [];
    const bounced: (string | undefined)[] = [];
    let isDown = true;
    const enqueue = async (_envelope: unknown, id?: string) => {
      order.push(isDown ? "refused" : "handed");
      if (isDown) throw new QueueError("down");
      bounced.push(id);
      return [id ?? ""];
    };
    const fixture = setUp({ script: ALL, parts: { bounceQueue: { enqueue } } });
    const { kept, send, world, relay } = fixture;
    const id = await send("b@bad.test");
    expect(kept.settled).toEqual([]);
    isDown = false;
    await world.advance(SECOND);
    expect(order).toEqual(["refused", "handed"]);
    expect(bounced).toHaveLength(1);
    expect(settlementsOf(fixture, id)).toEqual([{ 0: "bounced" }]);
    expect(kept.settled[0]?.bounces).toEqual([]);
    expect(relay.calls).toHaveLength(1);
  });

  test("a bounce queue that refuses for good is asked at growing intervals, 10 minutes at most", async () => {
    const askedAt: number[] = [];
    let isDown = true;
    const enqueue = async (_envelope: unknown, id?: string) => {
      askedAt.push(fixture.world.clock.now());
      if (isDown) throw new QueueError("never");
      return [id ?? ""];
    };
    const fixture: Fixture = setUp({ script: ALL, parts: { bounceQueue: { enqueue } } });
    const { kept, send, world, relay } = fixture;
    const id = await send("b@bad.test");
    await world.advance(HOUR);
    const pauses = askedAt.slice(1).map((at, index) => (at - (askedAt[index] ?? 0)) / SECOND);
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600, 600]);
    isDown = false;
    await world.advance(10 * MINUTE);
    expect(settlementsOf(fixture, id)).toEqual([{ 0: "bounced" }]);
    expect(kept.messages.size).toBe(0);
    expect(relay.calls).toHaveLength(1);
  });

  test("a bounce that another queue has taken is not given to it again with each try to settle", async () => {
    const handed: (string | undefined)[] = [];
    const enqueue = async (_envelope: unknown, id?: string) => {
      handed.push(id);
      return [id ?? ""];
    };
    const { faulty, send, world, kept } = setUp({
      script: ALL,
      parts: { bounceQueue: { enqueue } },
    });
    faulty.fail("settle");
    await send("b@bad.test");
    await world.advance(10 * SECOND);
    faulty.heal("settle");
    await world.advance(SECOND);
    expect(handed).toHaveLength(1);
    expect(kept.settled).toHaveLength(1);
  });

  test("after a crash between bounce and settlement the same bounce is made again, under the same id", async () => {
    const handed: (string | undefined)[] = [];
    const enqueue = async (_envelope: unknown, id?: string) => {
      handed.push(id);
      return [id ?? ""];
    };
    const setup = { script: ALL, parts: { bounceQueue: { enqueue } } };
    const first = setUp(setup);
    first.faulty.fail("settle");
    const id = await first.send("b@bad.test");
    await first.queue.drain(AbortSignal.abort());
    expect(handed).not.toBeEmpty();
    const second = setUp(setup);
    await second.queue.enqueue(mail("b@bad.test"), id);
    await second.world.advance(0);
    expect(second.kept.settled).toHaveLength(1);
    expect(new Set(handed).size).toBe(1);
    expect(second.kept.messages.size).toBe(0);
  });

  test("no bounce of a bounce, and the null sender's mail ends all the same", async () => {
    for (const sender of ["", "<>"]) {
      const { kept, send, recorder } = setUp({ script: ALL });
      await send("b@bad.test", { sender });
      expect(kept.settled[0]?.bounces).toEqual([]);
      expect(kept.messages.size).toBe(0);
      expect(recorder.all("notification")).toEqual([]);
    }
  });

  test("a bounce whose sender cannot be reached ends without another", async () => {
    const { kept, send, relay, recorder, world } = setUp({ script: () => "rejected" });
    await send("b@bad.test");
    await world.advance(MINUTE);
    expect(relay.calls).toHaveLength(2);
    expect(recorder.all("notification")).toHaveLength(1);
    expect(kept.messages.size).toBe(0);
  });

  test("a factory that fails does not cost the notice: the stock one stands in", async () => {
    const factory = (): never => {
      throw new Error("defect");
    };
    const fixture = setUp({
      script: ALL,
      options: { notices: { ...OPTIONS.notices, factory } },
    });
    fixture.relay.hangs = ({ envelope }) => envelope.sender === "";
    await fixture.send("b@bad.test");
    expect(notifications(fixture)).toHaveLength(1);
    expect(fixture.recorder.all("lifecycle")[0]?.text).toContain("defect");
  });

  test("a factory may decide for none", async () => {
    const fixture = setUp({
      script: ALL,
      options: { notices: { ...OPTIONS.notices, factory: () => null } },
    });
    await fixture.send("b@bad.test");
    expect(fixture.kept.messages.size).toBe(0);
  });

  test("a policy that refuses a notification does not stop it", async () => {
    const fixture = setUp({ script: ALL });
    fixture.relay.hangs = ({ envelope }) => envelope.sender === "";
    fixture.queue.addPolicy(({ sender }) => {
      if (sender === "") throw new QueueError("no bounces here");
      return null;
    });
    await fixture.send("b@bad.test");
    expect(notifications(fixture)).toHaveLength(1);
    expect(fixture.recorder.all("lifecycle")[0]).toMatchObject({ what: "warning" });
  });

  test("notifications go through the policies too", async () => {
    const fixture = setUp({ script: ALL });
    fixture.relay.hangs = ({ envelope }) => envelope.sender === "";
    fixture.queue.addPolicy((envelope) =>
      envelope.sender === "" ? [{ ...envelope, receiver: "marked" }] : null,
    );
    await fixture.send("b@bad.test");
    expect(notifications(fixture)[0]?.receiver).toBe("marked");
  });
});

describe("what senders asked for (RFC 3461)", () => {
  const noticeFor = async (
    says: Said,
    notify: readonly Notify[] | undefined,
    ret?: "FULL" | "HDRS",
  ): Promise<string | undefined> => {
    const fixture = setUp({
      script: ({ address }) => (address === "b@to.test" ? says : "delivered"),
    });
    fixture.relay.hangs = ({ envelope }) => envelope.sender === "";
    await fixture.send("b@to.test", {
      recipients: [{ index: 0, address: "b@to.test", ...(notify ? { notify } : {}) }],
      dsn: { envid: "E-1", ...(ret ? { ret } : {}) },
    });
    const [notice] = notifications(fixture);
    return notice && textOf(notice);
  };

  test("failures: by default and with FAILURE, not with NEVER or SUCCESS alone", async () => {
    expect(await noticeFor("rejected", undefined)).toContain("Action: failed");
    expect(await noticeFor("rejected", ["FAILURE"])).toContain("Original-Envelope-Id: E-1");
    expect(await noticeFor("rejected", ["NEVER"])).toBeUndefined();
    expect(await noticeFor("rejected", ["SUCCESS"])).toBeUndefined();
  });

  test("success: only when asked, and only when the next hop does not notify itself", async () => {
    const unknown: Said = { kind: "delivered", dsnRelayed: false };
    const knows: Said = { kind: "delivered", dsnRelayed: true };
    expect(await noticeFor(unknown, ["SUCCESS"])).toContain("Action: relayed");
    expect(await noticeFor(unknown, undefined)).toBeUndefined();
    expect(await noticeFor(knows, ["SUCCESS"])).toBeUndefined();
  });

  test("RET=HDRS returns the header alone, else the message comes back", async () => {
    expect(await noticeFor("rejected", undefined)).toContain("How are you?");
    expect(await noticeFor("rejected", undefined, "FULL")).toContain("How are you?");
    const header = await noticeFor("rejected", undefined, "HDRS");
    expect(header).toContain("Subject: hello");
    expect(header).not.toContain("How are you?");
  });
});

describe("P5: exactly one end", () => {
  const said = fc.constantFrom<Said>("delivered", "deferred", "rejected", "down");
  const scripts = fc.array(fc.array(said, { minLength: 1, maxLength: 7 }), {
    minLength: 1,
    maxLength: 6,
  });

  test("whatever peers say over many attempts, each recipient ends once and is not asked again", async () => {
    await fc.assert(
      fc.asyncProperty(scripts, async (script) => {
        const fixture = setUp({
          script: ({ index }, { attempts, envelope }) =>
            envelope.sender === "" ? "delivered" : (script[index]?.[attempts] ?? "rejected"),
        });
        const to = script.map((_, index) => `r${index}@to.test`);
        const id = await fixture.send(to);
        for (let timers = 0; timers < 200 && fixture.kept.messages.size > 0; timers += 1) {
          await fixture.world.toNextTimer();
        }
        expect(fixture.kept.messages.size).toBe(0);
        const own = fixture.relay.calls.filter((call) => call.id === id);
        for (const [index, says] of script.entries()) {
          const end = says.findIndex((each) => each === "delivered" || each === "rejected");
          const tries = end < 0 ? says.length + 1 : end + 1;
          expect(own.filter(({ indexes }) => indexes.includes(index))).toHaveLength(tries);
        }
        const ends = settlementsOf(fixture, id).flatMap((each) =>
          Object.entries(each).filter(([, status]) => status !== "pending"),
        );
        expect(ends.map(([index]) => Number(index)).sort()).toEqual(script.map((_, i) => i));
        const bounced = ends.filter(([, status]) => status === "bounced").length;
        const told = fixture.relay.calls
          .filter(({ envelope }) => envelope.sender === "")
          .map(({ envelope }) => textOf(envelope).match(/^Final-Recipient:/gmu)?.length ?? 0);
        expect(told.reduce((sum, count) => sum + count, 0)).toBe(bounced);
        expect(fixture.recorder.all("removed").filter((each) => each.id === id)).toHaveLength(1);
        // One settlement for each attempt, attempts counted one by one.
        const counts = fixture.kept.settled.filter((each) => each.id === id);
        expect(counts.map(({ settlement }) => settlement.attempts)).toEqual(
          own.map((_, index) => index + 1),
        );
      }),
      { numRuns: 60 },
    );
  });
});
