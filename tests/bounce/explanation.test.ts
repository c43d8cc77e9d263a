import { describe, expect, test } from "bun:test";
import { RECIPIENTS_SHOWN_MAX } from "../../src/bounce/explanation.ts";
import { buildNotification } from "../../src/bounce/notification.ts";
import { reply } from "../../src/mail/reply.ts";
import { notice, original, refused, textOf } from "./fixtures.ts";

const [bob] = original().recipients;

describe("the explanation", () => {
  test.each([
    ["failed", "could not be delivered", "check the addresses"],
    ["delayed", "has not been delivered yet", "You need not do anything. It is tried again;"],
    ["delivered", "was delivered", "You need not do anything."],
    ["relayed", "was handed over", "You need not do anything."],
  ] as const)("of %s mail says what happened and what to do", (action, happened, todo) => {
    const text = textOf(buildNotification(notice({ action })));
    expect(text).toContain(`Your message ${happened}`);
    expect(text).toContain(todo);
    expect(text).toContain("For help write to postmaster@edge.example ");
  });

  test("says until when a delayed message is tried, the longest of several", () => {
    const recipients = [1, 3, 2].map((day) => refused(bob!, { expiresAt: Date.UTC(2030, 0, day) }));
    const text = textOf(buildNotification(notice({ action: "delayed", recipients })));
    expect(text).toContain("until Thu, 03 Jan 2030 00:00:00\r\n+0000;");
  });

  test("says who said it in answer to what, or just what was the matter", () => {
    const own = { recipient: bob!, reply: reply(451, "4.4.1", "timeout"), attemptedAt: 0 };
    const text = textOf(buildNotification(notice({ recipients: [refused(bob!), own] })));
    expect(text).toContain(
      "<bob@x.example>:\r\n    mx.x.example[192.0.2.25]:25 said: 550 5.1.1 bob@x.example: no such user\r\n" +
        "    here (in reply to RCPT TO)\r\n",
    );
    expect(text).toContain("<bob@x.example>:\r\n    451 4.4.1 timeout\r\n");
  });

  test("lists everybody for programs and not too many for people", () => {
    const recipients = Array.from({ length: RECIPIENTS_SHOWN_MAX + 1 }, (_, index) =>
      refused({ index, address: `user${index}@x.example` }),
    );
    const text = textOf(buildNotification(notice({ recipients })));
    expect(text).toContain("... and 1 more, listed in the delivery report.");
    expect(text.match(/^Final-Recipient: /gmu)).toHaveLength(recipients.length);
  });
});
