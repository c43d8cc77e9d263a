import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RECIPIENTS_SHOWN_MAX } from "../../src/bounce/explanation.ts";
import { type Notice, RETURN_BYTES_MAX } from "../../src/bounce/notice.ts";
import { buildNotification } from "../../src/bounce/notification.ts";
import { notificationId, shouldNotify } from "../../src/bounce/should-notify.ts";
import { InvariantError } from "../../src/lib/assert.ts";
import { bodyContent, bytesContent, contentHead, withPrefix } from "../../src/mail/content.ts";
import type { Envelope, Notify } from "../../src/mail/envelope.ts";
import { REPLY_TEXT_MAX, reply } from "../../src/mail/reply.ts";
import { MESSAGE, notice, original, refused, textOf } from "./fixtures.ts";
import { parseWithPython } from "./parse-with-python.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const [bob] = original().recipients;

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

describe("the envelope", () => {
  test("goes from nobody to the sender", () => {
    expect(buildNotification(notice())).toMatchObject({
      sender: "",
      recipients: [{ index: 0, address: "alice@sender.example" }],
      client: { protocol: "LOCAL" },
      receiver: "edge.example",
      receivedAt: notice().now,
      eightBit: false,
      smtpUtf8: false,
      dsn: {},
    });
  });

  test("is the same for the same notice", () => {
    expect(buildNotification(notice())).toEqual(buildNotification(notice()));
  });

  test("needs SMTPUTF8 only for an international sender, 8 bits for any international address", () => {
    const [sender, recipient] = [
      original({ sender: "älice@sender.example" }),
      original({ recipients: [{ index: 0, address: "böb@x.example" }] }),
    ].map((about) => buildNotification(notice({ original: about })));
    expect(sender).toMatchObject({ smtpUtf8: true, eightBit: true });
    expect(recipient).toMatchObject({ smtpUtf8: false, eightBit: true });
  });

  test("stays 7-bit when only a peer speaks another language", () => {
    const recipients = [refused(bob!, { reply: reply(550, "5.1.1", "Empfänger unbekannt") })];
    const built = buildNotification(notice({ recipients }));
    expect(built).toMatchObject({ eightBit: false, smtpUtf8: false });
    expect(textOf(built)).toContain("smtp; 550 5.1.1 Empf?nger unbekannt");
  });

  test("is about somebody", () => {
    expect(() => buildNotification(notice({ recipients: [] }))).toThrow(InvariantError);
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

describe("what goes back", () => {
  const BODY = "At noon?\r\n";
  const goesBack = (about: Envelope, change: Partial<Notice> = {}) =>
    textOf(buildNotification(notice({ original: about, ...change }))).includes(BODY);

  test("all of a failed message, unless the sender asks for the header", () => {
    expect(goesBack(original())).toBe(true);
    expect(goesBack(original({ dsn: { ret: "FULL" } }))).toBe(true);
    expect(goesBack(original({ dsn: { ret: "HDRS" } }))).toBe(false);
  });

  test("only the header of any other", () => {
    for (const action of ["delayed", "delivered", "relayed"] as const) {
      expect(goesBack(original({ dsn: { ret: "FULL" } }), { action })).toBe(false);
    }
  });

  test("only the header of a message over the size, prefix included", () => {
    expect(goesBack(original(), { returnBytesMax: MESSAGE.length })).toBe(true);
    expect(goesBack(original(), { returnBytesMax: MESSAGE.length - 1 })).toBe(false);
    const content = withPrefix(original().content, bytes("A: b\r\n"));
    expect(goesBack(original({ content }), { returnBytesMax: MESSAGE.length + 5 })).toBe(false);
    expect(goesBack(original({ content }), { returnBytesMax: MESSAGE.length + 6 })).toBe(true);
  });

  test("a streamed message whole only when all of it is in memory", () => {
    const stored = (size: number) =>
      bodyContent({
        kind: "source",
        size,
        head: bytes(MESSAGE),
        stream: () => {
          throw new Error("nothing is read");
        },
      });
    expect(goesBack(original({ content: stored(MESSAGE.length) }))).toBe(true);
    expect(goesBack(original({ content: stored(MESSAGE.length + 1) }))).toBe(false);
  });

  test("nothing but whole lines of a header that does not end", async () => {
    const endless = `A: b\r\n${"x".repeat(62)}: `.replace("b\r\n", "b\r\n").padEnd(200_000, "y");
    const built = buildNotification(
      notice({ original: original({ content: bytesContent(bytes(endless)) }) }),
    );
    const [parsed] = await parseWithPython([contentHead(built.content)]);
    expect(parsed?.returned).toBe("A: b\r\n");
  });

  test("with a boundary that is not in it", async () => {
    const nasty = "--=_0123456789ABCDEF_0\r\n--=_0123456789ABCDEF_1--\r\n";
    const built = buildNotification(notice({ original: original({}, MESSAGE + nasty) }));
    const [parsed] = await parseWithPython([contentHead(built.content)]);
    expect(parsed?.returned).toBe(MESSAGE + nasty);
    expect(textOf(built)).toContain('boundary="=_0123456789ABCDEF_2"');
  });

  test("all octets unharmed", () => {
    const octets = Uint8Array.from({ length: 256 }, (_, index) => index);
    const body = new Uint8Array([...bytes("A: b\r\n\r\n"), ...octets]);
    const built = buildNotification(
      notice({ original: original({ content: bytesContent(body) }) }),
    );
    const all = Buffer.from(contentHead(built.content));
    expect(all.includes(Buffer.from(body))).toBe(true);
    expect(built.eightBit).toBe(true);
  });
});

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

describe("whatever peers and senders say", () => {
  const INJECTIONS = [
    "\r\nBcc: eve@evil.example\r\n\r\n",
    "\n\n--=_0123456789ABCDEF_0\r\n",
    "\u2028\u0085x",
    "a b".repeat(400),
  ];
  const anything = fc.oneof(
    fc.string({ unit: "binary", maxLength: 2000 }),
    fc.string({ maxLength: 100 }),
    fc.constantFrom(...INJECTIONS, "x".repeat(3000), "\ud800", "", " ", "--", "😀".repeat(800)),
  );
  const anyNotice = fc
    .record({
      sender: anything,
      address: anything,
      orcpt: anything,
      envid: anything,
      text: anything,
    })
    .chain((names) =>
      fc
        .record({
          relay: anything,
          command: anything,
          name: anything,
          status: anything,
          id: anything,
        })
        .map((more) => ({ ...names, ...more })),
    )
    .map(({ sender, address, orcpt, envid, text, relay, command, name, status, id }) =>
      notice({
        original: original(
          { sender, dsn: { envid }, client: { ...original().client, name } },
          `Message-ID: ${id.replace(/[\r\n]/gu, "")}\r\n\r\nbody\r\n`,
        ),
        recipients: [
          refused(
            { index: 0, address, orcpt },
            { reply: reply(550, status, text.slice(0, REPLY_TEXT_MAX)), relay, command },
          ),
        ],
      }),
    );

  test("it adds no field, ends no part and makes no line too long", async () => {
    const notices = fc.sample(anyNotice, 300);
    const built = notices.map(buildNotification);
    const parsed = await parseWithPython(built.map(({ content }) => contentHead(content)));
    const names =
      "From To Subject Date Message-ID Auto-Submitted MIME-Version Content-Type Content-Transfer-Encoding";
    const references = ["In-Reply-To", "References"];
    for (const report of parsed) {
      expect(report.defects).toEqual([]);
      expect(report.headerNames.filter((each) => !references.includes(each))).toEqual(
        names.split(" "),
      );
      expect(report.groups.map((fields) => Object.keys(fields).length)).toEqual([
        report.groups[0]?.["Received-From-MTA"] === undefined ? 4 : 5,
        7,
      ]);
    }
    for (const envelope of built) {
      const text = textOf(envelope);
      expect(text.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/u);
      const [report = ""] = text.split("\r\nContent-Description: Undelivered message");
      for (const line of report.split("\r\n")) expect(bytes(line).length).toBeLessThanOrEqual(998);
      if (!envelope.eightBit) expect(text).toMatch(/^\p{ASCII}*$/u);
    }
  });

  test("the text of a long reply is folded, and whole when unfolded", async () => {
    const text = "one two three ".repeat(60).trim();
    const recipients = [refused(bob!, { reply: reply(550, "5.7.1", text) })];
    const built = buildNotification(notice({ recipients, returnBytesMax: RETURN_BYTES_MAX }));
    const [parsed] = await parseWithPython([contentHead(built.content)]);
    expect(parsed?.groups[1]?.["Diagnostic-Code"]).toBe(`smtp; 550 5.7.1 ${text}`);
    for (const line of textOf(built).split("\r\n")) expect(line.length).toBeLessThanOrEqual(78);
  });
});
