import { describe, expect, test } from "bun:test";
import type { Notice, NoticeAction } from "../../src/bounce/notice.ts";
import { buildNotification } from "../../src/bounce/notification.ts";
import { type Content, contentHead, HEAD_BYTES_MAX } from "../../src/mail/content.ts";
import type { Envelope, Recipient } from "../../src/mail/envelope.ts";
import { parseReply } from "../../src/mail/reply.ts";
import { notice, original, refused } from "../bounce/fixtures.ts";
import { type ParsedReport, parseWithPython } from "../bounce/parse-with-python.ts";
import { howToKeep } from "./support/bytes-fuzzer.ts";
import { below, bytesOf, mutator, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

/** Reports that one Python reads: starting it costs more than they do. */
const AT_ONCE = 150;
const RETURN_BYTES_MAX = 4096;
/** What is said of each recipient, and of the message: the address three times, the reply twice, and words around them. */
const RECIPIENT_BYTES_MAX = 12 * 1024;
const FRAME_BYTES_MAX = 16 * 1024;
const LINE_OCTETS_MAX = 998;

const ID = "0123456789ABCDEF";
const WORDS = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  "\t",
  " ",
  "\r\n\r\n",
  "\r\n.\r\n",
  `\r\n--=_${ID}_0--\r\n`,
  `=_${ID}_0`,
  `=_${ID}_1`,
  "\r\nBcc: evil@x",
  "\r\nContent-Type: text/html\r\n\r\n",
  "=?utf-8?B?4oCu?=",
  "é",
  "\u0085",
  "\u2028",
  "\u202e",
  "💩",
  "\ud800",
  ">",
  "<",
  "@",
  ";",
  '"',
  "\\",
  "%0d%0a",
  "x".repeat(300),
  "y ".repeat(600),
  "5.1.1",
];

/** Text as somebody writes it who wants to break out of a line, a field or a part. */
function hostileText(random: () => number, usual: string): string {
  let text = usual;
  for (let left = below(random, 4); left > 0; left -= 1) {
    const at = below(random, text.length + 1);
    text = text.slice(0, at) + pick(random, WORDS) + text.slice(at);
  }
  return text;
}

const HEADERS = [
  "Received: from a by b; Wed, 02 Jan 2030 03:04:05 +0000\r\nFrom: Alice <a@x>\r\nSubject: Lunch\r\nMessage-ID: <l@x>\r\n\r\nAt noon?\r\n",
  "Message-ID: <a>\r\n <b>\r\n\r\n",
  "Message-ID: <a\r\n\tb>\r\n\r\n",
  "no header at all\r\n",
  "",
  "\r\n",
  "\r\n\r\n\r\n",
  ": \r\n\r\n",
  "X",
  "X:",
  `X: ${"folded\r\n ".repeat(2000)}\r\n\r\nbody`,
  `Subject: ${"é".repeat(600)}\r\n\r\n`,
  `${"Y: z\r\n".repeat(9000)}\r\nbody`,
  `X: ${"w".repeat(70_000)}`,
  `Content-Type: multipart/mixed; boundary="=_${ID}_0"\r\n\r\n--=_${ID}_0\r\n\r\n--=_${ID}_0--\r\n`,
  "From x\r\nA: b\r\n\r\n",
].map((text) => Buffer.from(text, "utf8"));

function hostileContent(random: () => number): Content {
  const mutate = mutator(
    random,
    WORDS.map((word) => Buffer.from(word, "utf8")),
  );
  const bytes =
    random() < 0.3 ? pick(random, HEADERS) : mutate(pick(random, HEADERS), pick(random, HEADERS));
  // A body that is read from a disk knows only its beginning.
  const body =
    random() < 0.3
      ? {
          kind: "source" as const,
          size: bytes.length + 1e7,
          head: bytes.subarray(0, HEAD_BYTES_MAX),
          stream: () => none(),
        }
      : { kind: "bytes" as const, bytes: new Uint8Array(bytes) };
  const prefix = random() < 0.5 ? bytesOf("Received: by us\r\n") : new Uint8Array();
  return { prefix, body };
}

function none(): AsyncIterable<Uint8Array> {
  throw new Error("no body is read for a notification");
}

function hostileNotice(random: () => number): Notice {
  const text = (usual: string) => (random() < 0.4 ? hostileText(random, usual) : usual);
  const recipient = (index: number): Recipient => ({
    index,
    address: text("bob@x.example"),
    ...(random() < 0.5 ? { orcpt: text("rfc822;Bob@old.example") } : {}),
  });
  const recipients = Array.from({ length: 1 + below(random, 3) }, (_, index) => recipient(index));
  const envelope: Envelope = original({
    sender: text("alice@sender.example"),
    recipients,
    content: hostileContent(random),
    client: {
      ip: text("192.0.2.7"),
      host: text("unknown"),
      name: text("client.example"),
      protocol: text("ESMTP"),
    },
    dsn:
      random() < 0.5
        ? { envid: text("order 66"), ret: pick(random, ["HDRS", "FULL"] as const) }
        : {},
    smtpUtf8: random() < 0.3,
    eightBit: random() < 0.3,
  });
  return notice({
    action: pick(random, ["failed", "delayed", "delivered", "relayed"] as const),
    original: envelope,
    recipients: recipients.map((one) =>
      refused(one, {
        reply: parseReply(pick(random, [250, 451, 550]), text("550 5.1.1 no such user here")),
        relay: text("mx.x.example[192.0.2.25]:25"),
        command: text("RCPT TO"),
        ...(random() < 0.3 ? { status: text("4.4.7") } : {}),
        ...(random() < 0.3 ? { expiresAt: 2e12 } : {}),
      }),
    ),
    originalId: ID,
    reportingMta: text("edge.example"),
    postmaster: text("postmaster@edge.example"),
    returnBytesMax: RETURN_BYTES_MAX,
  });
}

const NAMES = new Set([
  "From",
  "To",
  "Subject",
  "Date",
  "Message-ID",
  "In-Reply-To",
  "References",
  "Auto-Submitted",
  "MIME-Version",
  "Content-Type",
  "Content-Transfer-Encoding",
]);
const CLASSES: Record<NoticeAction, RegExp> = {
  failed: /^[45]\.\d{1,3}\.\d{1,3}$/u,
  delayed: /^4\.\d{1,3}\.\d{1,3}$/u,
  delivered: /^2\.\d{1,3}\.\d{1,3}$/u,
  relayed: /^2\.\d{1,3}\.\d{1,3}$/u,
};

/** What the bytes say by themselves. */
function judgeBytes(given: Notice, envelope: Envelope, bytes: Uint8Array): void {
  expect(envelope.sender).toBe("");
  if (!envelope.eightBit) expect(bytes.every((byte) => byte < 0x80)).toBe(true);
  const text = Buffer.from(bytes).toString("latin1");
  // What is returned is the sender's own; all in front of it is ours.
  const ours = text.slice(
    0,
    text.indexOf("Content-Description: ", text.indexOf("Delivery report")),
  );
  for (const line of ours.split("\r\n")) {
    expect(line.length).toBeLessThanOrEqual(LINE_OCTETS_MAX);
    expect(line).not.toMatch(/[\r\n\0]/u);
  }
  const returned = Math.max(RETURN_BYTES_MAX, HEAD_BYTES_MAX + 64);
  expect(bytes.length).toBeLessThan(
    returned + FRAME_BYTES_MAX + given.recipients.length * RECIPIENT_BYTES_MAX,
  );
}

/** What Python's parser makes of them. */
function judgeReport(given: Notice, report: ParsedReport): void {
  expect(report.type).toBe("multipart/report");
  expect(report.autoSubmitted).toBe("auto-replied");
  for (const name of report.headerNames) expect(NAMES).toContain(name);
  expect(new Set(report.headerNames).size).toBe(report.headerNames.length);
  expect(report.types).toHaveLength(3);
  expect(report.types[0]).toBe("text/plain");
  expect(report.types[1]).toMatch(/^message\/(?:global-)?delivery-status$/u);
  expect(report.types[2]).toMatch(
    /^(?:message\/(?:rfc822|global|global-headers)|text\/rfc822-headers)$/u,
  );
  expect(report.groups).toHaveLength(given.recipients.length + 1);
  expect(report.groups[0]).toMatchObject({ "Reporting-MTA": expect.stringMatching(/^dns; \S+$/u) });
  for (const group of report.groups.slice(1)) {
    expect(group.Action).toBe(given.action);
    expect(group.Status).toMatch(CLASSES[given.action]);
    expect(group["Final-Recipient"]).toMatch(/^(?:rfc822|utf-8); ?/u);
    for (const name of Object.keys(group)) expect(name).toMatch(/^[A-Z][A-Za-z-]+$/u);
  }
}

describe("a notification", () => {
  test(
    "of hostile mail, about hostile recipients, by hostile peers, is a report that Python reads as it was meant",
    async () => {
      await rounds(2, async (random) => {
        const notices = Array.from({ length: AT_ONCE }, () => hostileNotice(random));
        const messages = notices.map((given) => {
          const envelope = buildNotification(given);
          const bytes = contentHead(envelope.content);
          const whole =
            envelope.content.body.kind === "bytes" ? envelope.content.body.bytes : bytes;
          judgeBytes(given, envelope, whole);
          return whole;
        });
        const reports = await parsed(messages);
        for (const [index, report] of reports.entries()) {
          const given = notices[index];
          if (given !== undefined) telling(messages[index], () => judgeReport(given, report));
        }
      });
    },
    FUZZ_TIMEOUT_MS,
  );
});

/** All at once, and one by one only to find the one that Python refuses. */
async function parsed(messages: readonly Uint8Array[]): Promise<readonly ParsedReport[]> {
  try {
    return await parseWithPython(messages);
  } catch (error) {
    const [only = new Uint8Array()] = messages;
    if (messages.length <= 1)
      throw new Error(`${String(error)}\n${howToKeep("notice", only)}`, { cause: error });
    const half = messages.length >> 1;
    return [...(await parsed(messages.slice(0, half))), ...(await parsed(messages.slice(half)))];
  }
}

function telling(message: Uint8Array = new Uint8Array(), judge: () => void): void {
  try {
    judge();
  } catch (error) {
    throw new Error(`${String(error)}\n${howToKeep("notice", message)}`, { cause: error });
  }
}
