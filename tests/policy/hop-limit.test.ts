import { describe, expect, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import { hopLimit } from "../../src/policy/hop-limit.ts";
import { runPolicies } from "../../src/policy/policy.ts";
import { addReceivedHeader } from "../../src/policy/received.ts";
import { context, envelopeTo } from "./fixtures.ts";

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
