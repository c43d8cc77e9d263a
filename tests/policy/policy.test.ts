import { describe, expect, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import { type Policy, runPolicies } from "../../src/policy/policy.ts";
import { context, envelopeTo } from "./fixtures.ts";

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
