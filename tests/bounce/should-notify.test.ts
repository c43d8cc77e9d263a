import { describe, expect, test } from "bun:test";
import { buildNotification } from "../../src/bounce/notification.ts";
import { notificationId, shouldNotify } from "../../src/bounce/should-notify.ts";
import type { Envelope, Notify } from "../../src/mail/envelope.ts";
import { notice, original } from "./fixtures.ts";

describe("shouldNotify", () => {
  const tells = (notify: readonly Notify[] | undefined, about: Envelope = original()) => {
    const recipient = { index: 0, address: "bob@x.example", ...(notify ? { notify } : {}) };
    const actions = ["failed", "delayed", "delivered", "relayed"] as const;
    return actions.filter((action) => shouldNotify(about, recipient, action));
  };

  test.each<[readonly Notify[] | undefined, string[]]>([
    [undefined, ["failed", "delayed"]],
    [["NEVER"], []],
    [["FAILURE"], ["failed"]],
    [["DELAY"], ["delayed"]],
    [["SUCCESS"], ["delivered", "relayed"]],
    [
      ["SUCCESS", "FAILURE", "DELAY"],
      ["failed", "delayed", "delivered", "relayed"],
    ],
    [[], []],
  ])("NOTIFY=%p tells of %p", (notify, actions) => {
    expect(tells(notify)).toEqual(actions as never);
  });

  test("nothing is said about mail with the null return path", () => {
    expect(tells(["SUCCESS", "FAILURE", "DELAY"], original({ sender: "" }))).toEqual([]);
    expect(tells(undefined, original({ sender: "<>" }))).toEqual([]);
  });

  test.each([
    ["auto-replied", false],
    ["Auto-Generated; x=y", false],
    ["", false],
    ["nonsense", false],
    ["no", true],
    ["No (comment)", true],
  ])("a program with Auto-Submitted: %p hears of delays: %p", (value, hears) => {
    const about = original({}, `Auto-Submitted: ${value}\r\n\r\n`);
    expect(tells(undefined, about)).toEqual(hears ? ["failed", "delayed"] : ["failed"]);
  });

  test("a notification is never answered with another", () => {
    const bounce = buildNotification(notice());
    expect(tells(undefined, bounce)).toEqual([]);
    expect(tells(["SUCCESS", "FAILURE", "DELAY"], bounce)).toEqual([]);
  });
});

describe("notificationId", () => {
  const id = notificationId("0123456789ABCDEF", "failed", [2, 10]);

  test("follows from message, action and recipients, whatever their order", () => {
    expect(notificationId("0123456789ABCDEF", "failed", [10, 2])).toBe(id);
    expect(id).toStartWith("012345678");
  });

  test("differs when any of them does", () => {
    const others = [
      notificationId("0123456789ABCDEG", "failed", [2, 10]),
      notificationId("0123456789ABCDEF", "delayed", [2, 10]),
      notificationId("0123456789ABCDEF", "failed", [2]),
      notificationId("0123456789ABCDEF", "failed", [21, 0]),
    ];
    expect(new Set([id, "0123456789ABCDEF", ...others]).size).toBe(6);
  });
});
