import { describe, expect, test } from "bun:test";
import { bytesContent } from "../../src/mail/content.ts";
import { headerOf, scanHeader } from "../../src/mail/header.ts";
import { addDateHeader, addMessageIdHeader } from "../../src/policy/headers.ts";
import { addReceivedHeader } from "../../src/policy/received.ts";
import { original } from "../bounce/fixtures.ts";
import { fuzzBytes } from "./support/bytes-fuzzer.ts";
import { below, bytesOf, mutator, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

const AT_ONCE = 500;

/** Lines that two readers of RFC 5322 understand alike: what is not a field ends the header for both. */
const LINES = [
  "Date: Wed, 02 Jan 2030 03:04:05 +0000",
  "date:",
  "DATE:x",
  "Received: from a",
  "received:b",
  "RECEIVED: c",
  "Message-ID: <a@b>",
  "message-id:\t<c@d>",
  "Message-Id: <e@f> trailing",
  "Subject: =?utf-8?B?4oCu?=",
  " folded",
  "\tfolded too",
  "X-Date: no",
  "Dates: no",
  "Receive: no",
  "Content-Type: text/plain",
  "Subject: \xe9\xff",
  "X:",
  "X: a:b:c",
  "not a field",
  "",
  "(comment): x",
  "A=b: c",
  `Long: ${"x".repeat(2000)}`,
  "Auto-Submitted: auto-generated",
];

function headerText(random: () => number): Uint8Array {
  const lines = Array.from({ length: below(random, 12) }, () => pick(random, LINES));
  // A fold with nothing above it: Python passes it over, to us it is a body.
  while (/^[ \t]/u.test(lines[0] ?? "")) lines.shift();
  return bytesOf(`${lines.join("\r\n")}\r\n`, random() < 0.5 ? "\r\nbody: Date: x\r\n" : "");
}

const PROGRAM = `
import base64, email.parser, email.policy, json, sys
out = []
for encoded in json.load(sys.stdin):
    raw = base64.b64decode(encoded)
    message = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(raw)
    out.append({
        "date": "date" in message,
        "received": len(message.get_all("received", [])),
        "messageId": "message-id" in message,
        "contentType": "content-type" in message,
        "auto": "auto-submitted" in message,
        "fields": len(message.keys()),
    })
json.dump(out, sys.stdout)
`;

interface Reading {
  readonly date: boolean;
  readonly received: number;
  readonly messageId: boolean;
  readonly contentType: boolean;
  readonly auto: boolean;
}

async function python(headers: readonly Uint8Array[]): Promise<Reading[]> {
  const input = JSON.stringify(headers.map((header) => Buffer.from(header).toString("base64")));
  const child = Bun.spawn(["python3", "-c", PROGRAM], {
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(errors);
  return JSON.parse(output);
}

function ours(header: Uint8Array): Reading {
  const scan = scanHeader(header);
  return {
    date: scan.hasDate,
    received: scan.receivedCount,
    messageId: scan.messageId !== undefined,
    contentType: scan.contentType !== undefined,
    auto: scan.autoSubmitted !== undefined,
  };
}

describe("a header", () => {
  test(
    "is read as Python reads it",
    async () => {
      await rounds(1, async (random) => {
        const headers = Array.from({ length: AT_ONCE }, () => headerText(random));
        for (const [index, theirs] of (await python(headers)).entries()) {
          const header = headers[index] ?? new Uint8Array();
          expect([Buffer.from(header).toString("latin1"), { ...theirs, ...ours(header) }]).toEqual([
            Buffer.from(header).toString("latin1"),
            theirs,
          ]);
        }
      });
    },
    FUZZ_TIMEOUT_MS,
  );

  test(
    "of any bytes gets our fields on top, whole and in lines, and keeps its own",
    async () => {
      await fuzzBytes({
        target: "header",
        quick: 1500,
        seeds: [
          bytesOf(LINES.slice(0, 8).join("\r\n"), "\r\n\r\nbody\r\n"),
          bytesOf("no header\r\n"),
          bytesOf(""),
        ],
        make: (random, seeds) =>
          mutator(random, [
            "\r\n",
            "\n",
            "\r",
            "\0",
            ":",
            " ",
            "\t",
            "From ",
            "Date:",
            "Received:",
            "Message-ID:",
            "\xff",
            "x".repeat(1000),
          ])(pick(random, seeds), pick(random, seeds)),
        judge,
      });
    },
    FUZZ_TIMEOUT_MS,
  );
});

const CONTEXT = { id: "0123456789ABCDEF", hostname: "edge.example", now: 0 };

function judge(bytes: Uint8Array): void {
  const before = headerOf(bytesContent(bytes));
  let envelope = original({ content: bytesContent(bytes) });
  for (const policy of [addDateHeader, addMessageIdHeader, addReceivedHeader]) {
    envelope = policy(envelope, CONTEXT)?.[0] ?? envelope;
  }
  const { content } = envelope;
  const after = headerOf(content);
  expect(after.receivedCount).toBe(before.receivedCount + 1);
  expect(after.hasDate).toBe(true);
  expect(after.messageId).toBeDefined();
  if (before.messageId !== undefined) expect(after.messageId).toBe(before.messageId);
  const prefix = Buffer.from(content.prefix).toString("latin1");
  expect(prefix).toMatch(
    /^Received: (?:[^\r\n]|\r\n[\t])*\r\n(?:Message-ID: [^\r\n]*\r\n)?(?:Date: [^\r\n]*\r\n)?(?:\r\n)?$/u,
  );
  expect(before.headerEnd).toBeLessThanOrEqual(bytes.length);
  // A body without a header must not become one.
  const isText = before.headerEnd === 0 && bytes.length > 0 && bytes[0] !== 0x0d;
  if (isText) expect(prefix).toEndWith("\r\n\r\n");
  for (const value of [before.messageId, before.autoSubmitted, before.contentType]) {
    if (value !== undefined) expect(value).not.toMatch(/\p{Cc}/u);
  }
}
