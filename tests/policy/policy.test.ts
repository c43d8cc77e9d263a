import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { contentSize } from "../../src/mail/content.ts";
import { headerOf } from "../../src/mail/header.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { addDateHeader, addMessageIdHeader } from "../../src/policy/headers.ts";
import { hopLimit } from "../../src/policy/hop-limit.ts";
import { type Policy, runPolicies } from "../../src/policy/policy.ts";
import { addReceivedHeader } from "../../src/policy/received.ts";
import { recipientDomainSplit, recipientSplit } from "../../src/policy/split.ts";
import { context, envelopeTo, textOf } from "./fixtures.ts";

const MESSAGE = "Subject: hello\r\n\r\nHello\r\n";

/** Makes one envelope per letter, named by the sender: `split("xy")` turns `a` into `ax` and `ay`. */
const split =
  (letters: string): Policy =>
  (envelope) =>
    Array.from(letters, (letter) => ({ ...envelope, sender: envelope.sender + letter }));
const only =
  (sender: string, policy: Policy): Policy =>
  (envelope, with_) =>
    envelope.sender === sender ? policy(envelope, with_) : null;
const senders = (policies: readonly Policy[]) =>
  runPolicies(policies, { ...envelopeTo([], ""), sender: "" }, context).map(({ sender }) => sender);

describe("runPolicies", () => {
  test("keeps the same envelope without policies and where nothing is made", () => {
    const envelope = envelopeTo(["bob@x.example"], MESSAGE);
    expect(runPolicies([], envelope, context)).toEqual([envelope]);
    expect(runPolicies([() => null, () => []], envelope, context)[0]).toBe(envelope);
  });

  test("goes on with each that a policy makes", () => {
    expect(senders([split("ab"), split("12")])).toEqual(["a1", "a2", "b1", "b2"]);
  });

  test("what is made goes to the end of the list, depth first, as in the parent", () => {
    expect(senders([split("abc"), only("a", split("12"))])).toEqual(["b", "c", "a1", "a2"]);
    expect(senders([split("ab"), only("a", split("1")), only("a1", split("xy"))])).toEqual([
      "b",
      "a1x",
      "a1y",
    ]);
    expect(senders([() => null, split("ab"), only("b", split("2"))])).toEqual(["a", "b2"]);
  });

  test("all policies see the same context, and what they throw comes out", () => {
    const seen: unknown[] = [];
    const look: Policy = (_, given) => {
      seen.push(given);
      return null;
    };
    runPolicies([split("ab"), look], envelopeTo([], ""), context);
    expect(seen).toEqual([context, context]);
    const refuse: Policy = () => {
      throw new QueueError("no");
    };
    expect(() => runPolicies([refuse], envelopeTo([], ""), context)).toThrow(QueueError);
  });
});

describe("splits", () => {
  const addresses = fc.array(
    fc.constantFrom("a@x.example", "b@X.example", "c@y.example", "d@z.example", "postmaster"),
    { minLength: 1, maxLength: 12 },
  );

  test.each([recipientSplit, recipientDomainSplit])(
    "nobody is lost, indexes start at 0 in each part, the body is shared",
    (policy) => {
      fc.assert(
        fc.property(addresses, (list) => {
          const envelope = envelopeTo(list, MESSAGE);
          const parts = runPolicies([policy], envelope, context);
          const all = parts.flatMap((part) => part.recipients.map(({ address }) => address));
          expect(all.toSorted()).toEqual(list.toSorted());
          for (const part of parts) {
            expect(part.recipients.map(({ index }) => index)).toEqual([...part.recipients.keys()]);
            expect(part.content).toBe(envelope.content);
          }
        }),
      );
    },
  );

  test("one envelope per recipient, in order, with what belongs to each", () => {
    const envelope = envelopeTo(["a@x.example", "b@x.example"], MESSAGE);
    const recipients = envelope.recipients.map((each) => ({
      ...each,
      orcpt: `rfc822;${each.address}`,
    }));
    expect(
      recipientSplit({ ...envelope, recipients }, context)?.map((part) => part.recipients),
    ).toEqual([
      [{ index: 0, address: "a@x.example", orcpt: "rfc822;a@x.example" }],
      [{ index: 0, address: "b@x.example", orcpt: "rfc822;b@x.example" }],
    ]);
    expect(recipientSplit(envelopeTo(["a@x.example"], MESSAGE), context)).toBeNull();
  });

  test("one envelope per domain, in the order in which they came", () => {
    const list = ["a@x.example", "postmaster", "b@y.example", "c@X.Example", "root"];
    const parts = recipientDomainSplit(envelopeTo(list, MESSAGE), context) ?? [];
    expect(parts.map((part) => part.recipients.map(({ address }) => address))).toEqual([
      ["a@x.example", "c@X.Example"],
      ["postmaster", "root"],
      ["b@y.example"],
    ]);
    expect(recipientDomainSplit(envelopeTo(["a@x", "b@X"], MESSAGE), context)).toBeNull();
  });
});

describe("headers", () => {
  test("Date and Message-ID are added where they are missing", () => {
    const [made] = runPolicies(
      [addDateHeader, addMessageIdHeader],
      envelopeTo(["bob@x.example"], MESSAGE),
      context,
    );
    expect(made && textOf(made)).toBe(
      "Message-ID: <20300102030405.0123456789ABCDEF@edge.example>\r\n" +
        `Date: Wed, 02 Jan 2030 03:04:05 +0000\r\n${MESSAGE}`,
    );
  });

  test("and nowhere else", () => {
    const complete = envelopeTo([], "date: x\r\nmessage-id:\r\n\r\n");
    expect(addDateHeader(complete, context)).toBeNull();
    expect(addMessageIdHeader(complete, context)).toBeNull();
  });

  test("all parts of a split are the same message", () => {
    const envelope = envelopeTo(["a@x.example", "b@y.example"], MESSAGE);
    const parts = runPolicies([recipientSplit, addMessageIdHeader], envelope, context);
    const ids = new Set(parts.map(({ content }) => headerOf(content).messageId));
    expect([parts.length, ids.size]).toEqual([2, 1]);
  });

  test("Received comes on top of them, whatever the message", () => {
    const stock = [addDateHeader, addMessageIdHeader, addReceivedHeader];
    fc.assert(
      fc.property(fc.constantFrom("", "\r\n", "Hello\r\n", MESSAGE, " x: y\r\n"), (message) => {
        const envelope = envelopeTo(["a@x.example"], message);
        const [made = envelope] = runPolicies(stock, envelope, context);
        expect(textOf(made)).toStartWith("Received: from client.example ");
        expect(textOf(made)).toEndWith(message);
        const header = headerOf(made.content);
        expect(header).toMatchObject({ hasDate: true, receivedCount: 1 });
        expect(header.headerEnd).toBeLessThanOrEqual(contentSize(made.content));
        expect(made.content.body).toBe(envelope.content.body);
      }),
    );
  });
});

describe("hop limit", () => {
  const withHops = (hops: number) => envelopeTo([], `${"Received: from x\r\n".repeat(hops)}\r\n`);

  test("lets the last hop pass and refuses one more", () => {
    expect(hopLimit(50)(withHops(50), context)).toBeNull();
    expect(() => hopLimit(50)(withHops(51), context)).toThrow(QueueError);
  });

  test("answers 554 5.4.6", () => {
    try {
      hopLimit(2)(withHops(3), context);
      throw new Error("not refused");
    } catch (error) {
      expect(error).toMatchObject({
        reply: {
          code: 554,
          enhanced: "5.4.6",
          text: "Routing loop detected -- too many Received: headers",
        },
      });
    }
  });

  test("does not count its own", () => {
    expect(runPolicies([hopLimit(2), addReceivedHeader], withHops(2), context)).toHaveLength(1);
  });
});
