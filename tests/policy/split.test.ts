import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { runPolicies } from "../../src/policy/policy.ts";
import { recipientDomainSplit, recipientSplit } from "../../src/policy/split.ts";
import { context, envelopeTo } from "./fixtures.ts";

const MESSAGE = "Subject: hello\r\n\r\nHello\r\n";

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
