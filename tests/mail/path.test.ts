import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseMail, parseRcpt } from "../../src/mail/path.ts";

/** The address, or the code that refuses it. */
function rcpt(text: string, smtpUtf8 = false): string {
  const command = parseRcpt(text, smtpUtf8);
  return command.kind === "rcpt" ? command.address : command.reply.enhanced;
}

describe("paths", () => {
  const cases: readonly (readonly [text: string, expected: string])[] = [
    ["<a@example.org>", "a@example.org"],
    ["  <A.B+c@Example.ORG>  ", "A.B+c@Example.ORG"],
    ["a@example.org", "a@example.org"],
    ["<user.@example.org>", "user.@example.org"],
    ["<a@under_score.example>", "a@under_score.example"],
    ["<a@xn--bcher-kva.example>", "a@xn--bcher-kva.example"],
    ['<"john doe"@example.org>', '"john doe"@example.org'],
    ['<"a@b"@example.org>', '"a@b"@example.org'],
    ['<"a>b\\"c"@example.org>', '"a>b\\"c"@example.org'],
    ["<a@[192.0.2.1]>", "a@[192.0.2.1]"],
    ["<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"],
    ["<a@[ipv6:::1]>", "a@[ipv6:::1]"],
    ["<a@[300.0.2.1]>", "5.1.3"],
    ["<a@[192.0.2]>", "5.1.3"],
    ["<a@[2001:db8::1]>", "5.1.3"],
    ["<a@[IPv6:2001:db8:::1]>", "5.1.3"],
    ["<a@[nonsense]>", "5.1.3"],
    ["<@one.example,@two.example:a@example.org>", "a@example.org"],
    ["<postmaster>", "postmaster"],
    ["<PostMaster>", "PostMaster"],
    [`<${"x".repeat(255)}@example.org>`, `${"x".repeat(255)}@example.org`],
    [`<${"x".repeat(256)}@example.org>`, "5.1.3"],
    [`<x@${"y".repeat(256)}>`, "5.1.3"],
    ["<>", "5.1.3"],
    ["<a>", "5.1.3"],
    ["<a@>", "5.1.3"],
    ["<@example.org>", "5.1.3"],
    ["<a b@example.org>", "5.1.3"],
    ["<a@b@example.org>", "5.1.3"],
    ["<a@exa mple.org>", "5.1.3"],
    ["<a@.example.org>", "5.1.3"],
    ["<a@example..org>", "5.1.3"],
    ["<a@example.org", "5.1.3"],
    ["<a@example.org>x", "5.1.3"],
    ["<a\u0000@example.org>", "5.1.3"],
    ["", "5.1.3"],
    ["<\u00e9@example.org>", "5.6.7"],
  ];
  for (const [text, expected] of cases) {
    test(`${text.slice(0, 50)} -> ${expected.slice(0, 50)}`, () =>
      expect(rcpt(text)).toBe(expected));
  }

  test("beyond ASCII need SMTPUTF8, and must not deceive", () => {
    expect(rcpt("<\u00e9@b\u00fccher.example>", true)).toBe("\u00e9@b\u00fccher.example");
    expect(rcpt("<a\u200b@example.org>", true)).toBe("5.1.3");
    expect(rcpt("<a\u0085@example.org>", true)).toBe("5.1.3");
    // 255 octets are fewer characters here.
    expect(rcpt(`<${"\u00e9".repeat(128)}@example.org>`, true)).toBe("5.1.3");
  });
});

describe("parameters", () => {
  test("of MAIL", () => {
    expect(parseMail("<> size=0 body=7bit SMTPUTF8 ret=full ENVID=+41+2Bb")).toEqual({
      kind: "mail",
      sender: "",
      size: 0,
      eightBit: false,
      smtpUtf8: true,
      dsn: { ret: "FULL", envid: "A+b" },
    });
  });

  test("of RCPT", () => {
    expect(
      parseRcpt("<a@b.example> ORCPT=rfc822;x+40y.example NOTIFY=failure,Delay", false),
    ).toEqual({
      kind: "rcpt",
      address: "a@b.example",
      orcpt: "rfc822;x@y.example",
      notify: ["FAILURE", "DELAY"],
    });
  });

  for (const [text, enhanced] of [
    ["<a@b.example> ENVID=", "5.5.4"],
    [`<a@b.example> ENVID=${"x".repeat(101)}`, "5.5.4"],
    ["<a@b.example> ENVID=a+0Ab", "5.5.4"],
    ["<a@b.example> SMTPUTF8=yes", "5.5.4"],
    ["<a@b.example> SIZE=-1", "5.5.4"],
    ["<a@b.example> =x", "5.5.4"],
  ] as const) {
    test(`${text.slice(0, 40)} is refused with ${enhanced}`, () => {
      expect(parseMail(text)).toMatchObject({ kind: "refused", reply: { code: 501, enhanced } });
    });
  }

  for (const text of [
    "NOTIFY=",
    "NOTIFY=NEVER,FAILURE",
    "NOTIFY=DELAY,DELAY",
    "ORCPT=rfc822",
    "ORCPT=;x",
    "ORCPT=rfc822;a+0Db",
    `ORCPT=rfc822;${"x".repeat(500)}`,
  ]) {
    test(`${text.slice(0, 40)} is refused`, () => {
      expect(parseRcpt(`<a@b.example> ${text}`, false)).toMatchObject({ reply: { code: 501 } });
    });
  }

  test("that nobody knows are 555", () => {
    expect(parseMail("<> FOO")).toMatchObject({ reply: { code: 555, enhanced: "5.5.4" } });
    expect(parseRcpt("<a@b.example> SIZE=1", false)).toMatchObject({ reply: { code: 555 } });
  });
});

test("every text is answered, soon, and no address has characters that could break a line", () => {
  const part = fc.constantFrom(
    "<",
    ">",
    "@",
    '"',
    "\\",
    ".",
    " ",
    "=",
    "a",
    "[",
    ":",
    ",",
    "\r\n",
    "\u00e9",
    "SIZE=1",
  );
  const text = fc.array(part, { maxLength: 2000 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, (anything) => {
      const mail = parseMail(anything);
      if (mail.kind === "mail") expect(mail.sender).not.toMatch(/[\r\n\0]/u);
      const recipient = parseRcpt(anything, true);
      if (recipient.kind === "rcpt") expect(recipient.address).not.toMatch(/[\r\n\0]/u);
    }),
  );
});
