import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RETURN_BYTES_MAX } from "../../src/bounce/notice.ts";
import { buildNotification } from "../../src/bounce/notification.ts";
import { InvariantError } from "../../src/lib/assert.ts";
import { contentHead } from "../../src/mail/content.ts";
import { REPLY_TEXT_MAX, reply } from "../../src/mail/reply.ts";
import { notice, original, refused, textOf } from "./fixtures.ts";
import { parseWithPython } from "./parse-with-python.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const [bob] = original().recipients;

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
