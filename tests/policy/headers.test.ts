import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { contentSize } from "../../src/mail/content.ts";
import { headerOf } from "../../src/mail/header.ts";
import { addDateHeader, addMessageIdHeader } from "../../src/policy/headers.ts";
import { runPolicies } from "../../src/policy/policy.ts";
import { addReceivedHeader } from "../../src/policy/received.ts";
import { recipientSplit } from "../../src/policy/split.ts";
import { context, envelopeTo, textOf } from "./fixtures.ts";

const MESSAGE = "Subject: hello\r\n\r\nHello\r\n";

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
