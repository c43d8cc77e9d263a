import { describe, expect, test } from "bun:test";
import type { Notice } from "../../src/bounce/notice.ts";
import { buildNotification } from "../../src/bounce/notification.ts";
import { reply } from "../../src/mail/reply.ts";
import { notice, refused, textOf } from "./fixtures.ts";

describe("the delivery status", () => {
  const statusIn = (change: Parameters<typeof refused>[1], action: Notice["action"] = "failed") => {
    const recipients = [refused({ index: 0, address: "bob@x.example" }, change)];
    return textOf(buildNotification(notice({ recipients, action })));
  };

  test.each([
    ["failed", "5.1.1", "5.1.1"],
    ["failed", "4.4.1", "4.4.1"],
    ["failed", "2.0.0", "5.0.0"],
    ["failed", "nonsense", "5.0.0"],
    ["delayed", "5.0.0", "4.0.0"],
    ["delivered", "2.1.5", "2.1.5"],
    ["relayed", "4.0.0", "2.0.0"],
  ] as const)("of %s mail with %p is %p", (action, given, status) => {
    expect(statusIn({ reply: reply(550, given, "x") }, action)).toContain(
      `\r\nStatus: ${status}\r\n`,
    );
  });

  test.each([
    ["mx.example[192.0.2.1]:25", "mx.example"],
    ["192.0.2.1[192.0.2.1]:25", "[192.0.2.1]"],
    ["[2001:db8::1]:25", "[2001:db8::1]"],
    ["socket", "socket"],
    ["a\r\nb[192.0.2.1]:25", "a??b"],
  ])("names the peer %p as %p", (relay, host) => {
    expect(statusIn({ relay })).toContain(`\r\nRemote-MTA: dns; ${host}\r\n`);
  });

  test("says until when a delayed message is tried, and only then", () => {
    const expiresAt = Date.UTC(2030, 0, 7, 3, 4, 5);
    expect(statusIn({ expiresAt }, "delayed")).toContain(
      "\r\nWill-Retry-Until: Mon, 07 Jan 2030 03:04:05 +0000\r\n",
    );
    expect(statusIn({ expiresAt }, "failed")).not.toContain("Will-Retry-Until");
    expect(statusIn({}, "delayed")).not.toContain("Will-Retry-Until");
  });
});
