import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { REPLY_TEXT_MAX, reply } from "../../src/mail/reply.ts";
import { decide, remoteName } from "../../src/queue/decide.ts";
import type { Outcome } from "../../src/relay/relay.ts";

const REPLIES = {
  delivered: reply(250, "2.0.0", "Ok"),
  deferred: reply(450, "4.2.0", "Later"),
  rejected: reply(550, "5.1.1", "No such user"),
};

function outcome(recipient: number, kind: Outcome["kind"]): Outcome {
  return { recipient, kind, reply: REPLIES[kind], setupMs: 1, transferMs: 2 };
}

const kinds = fc.constantFrom<Outcome["kind"]>("delivered", "deferred", "rejected");
const indexes = fc.integer({ min: 0, max: 9 });
const anyInput = fc.record({
  pending: fc.uniqueArray(indexes),
  outcomes: fc.array(fc.tuple(indexes, kinds).map(([index, kind]) => outcome(index, kind))),
  delayMs: fc.option(fc.nat()),
  expired: fc.boolean(),
});

describe("whatever the relay says", () => {
  test("every recipient ends as delivered, kept or bounced, exactly once", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { keep, bounce, delivered, changes } = decide(input);
        const ends = [...keep, ...[...bounce, ...delivered].map(({ recipient }) => recipient)];
        expect(ends.toSorted()).toEqual(input.pending.toSorted());
        expect(changes.map(({ index }) => index).toSorted()).toEqual(input.pending.toSorted());
      }),
    );
  });

  test("the changes agree with the lists", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { keep, bounce, delivered, changes } = decide(input);
        const of = (status: string) =>
          changes.filter((change) => change.status === status).map(({ index }) => index);
        expect(of("pending")).toEqual([...keep]);
        expect(of("bounced")).toEqual(bounce.map(({ recipient }) => recipient));
        expect(of("delivered")).toEqual(delivered.map(({ recipient }) => recipient));
      }),
    );
  });

  test("it is retried exactly when somebody is kept, and then after the delay", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const verdict = decide(input);
        expect(verdict.kind === "retry").toBe(verdict.keep.length > 0);
        if (verdict.kind === "retry") expect(verdict.delayMs).toBe(input.delayMs ?? -1);
      }),
    );
  });

  test("nobody who was delivered is bounced or kept, and nobody rejected is kept", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const firstKind = new Map(input.outcomes.toReversed().map((o) => [o.recipient, o.kind]));
        const verdict = decide(input);
        for (const index of verdict.keep)
          expect([undefined, "deferred"]).toContain(firstKind.get(index));
        for (const { recipient } of verdict.bounce) {
          expect(firstKind.get(recipient)).not.toBe("delivered");
        }
      }),
    );
  });
});

test("the first of two outcomes counts, and strangers do not", () => {
  const outcomes = [outcome(1, "delivered"), outcome(1, "rejected"), outcome(7, "rejected")];
  const verdict = decide({ pending: [1], outcomes, delayMs: 5, expired: false });
  expect(verdict).toMatchObject({ kind: "finish", bounce: [], delivered: [outcomes[0]] });
});

test("a recipient without an outcome is deferred", () => {
  const verdict = decide({ pending: [3], outcomes: [], delayMs: 5, expired: false });
  expect(verdict).toMatchObject({
    kind: "retry",
    delayMs: 5,
    keep: [3],
    changes: [{ index: 3, status: "pending", reply: { code: 451, enhanced: "4.3.0" } }],
  });
});

describe("giving up", () => {
  const textOf = (expired: boolean, text = "Later") => {
    const last = { ...outcome(0, "deferred"), reply: reply(450, "4.2.0", text) };
    const verdict = decide({ pending: [0], outcomes: [last], delayMs: null, expired });
    expect(verdict.bounce[0]?.reply).toMatchObject({ code: 450, enhanced: "4.2.0" });
    expect(verdict.changes[0]?.reply).toEqual(verdict.bounce[0]!.reply);
    return verdict.bounce[0]?.reply.text;
  };

  test("says why, keeps the reply's codes and stays within the limit", () => {
    expect(textOf(false)).toBe("Later (Too many retries)");
    expect(textOf(true)).toBe("Later (message expired)");
    expect(textOf(true, "")).toBe("(message expired)");
    expect(textOf(false, "x".repeat(REPLY_TEXT_MAX))).toHaveLength(REPLY_TEXT_MAX);
    expect(textOf(false, "x".repeat(REPLY_TEXT_MAX))).toEndWith("... (Too many retries)");
  });

  test("leaves the text of a rejection alone", () => {
    const outcomes = [outcome(0, "rejected"), outcome(1, "deferred")];
    const { bounce } = decide({ pending: [0, 1], outcomes, delayMs: null, expired: true });
    expect(bounce.map((each) => each.reply.text)).toEqual([
      "No such user",
      "Later (message expired)",
    ]);
  });
});

test("the change names who answered", () => {
  const remote = { host: "mx.example", ip: "2001:db8::1", port: 25, connectionUse: 1 };
  const outcomes = [{ ...outcome(0, "rejected"), remote }, outcome(1, "deferred")];
  const { changes } = decide({ pending: [0, 1], outcomes, delayMs: 1, expired: false });
  expect(changes).toEqual([
    { index: 0, status: "bounced", reply: REPLIES.rejected, relay: "mx.example[2001:db8::1]:25" },
    { index: 1, status: "pending", reply: REPLIES.deferred },
  ]);
  expect(remoteName({ ...remote, ip: "192.0.2.1", port: 2525 })).toBe("mx.example[192.0.2.1]:2525");
});
