import { type Notice, type NoticeRecipient, RETURN_BYTES_MAX } from "../../src/bounce/notice.ts";
import { bytesContent, contentHead } from "../../src/mail/content.ts";
import type { Envelope, Recipient } from "../../src/mail/envelope.ts";
import { reply } from "../../src/mail/reply.ts";

const HOUR_MS = 3_600_000;
const RECEIVED_AT = Date.UTC(2030, 0, 2, 3, 4, 5);

export const MESSAGE =
  "Received: from client.example by edge.example; Wed, 02 Jan 2030 03:04:05 +0000\r\n" +
  "From: Alice <alice@sender.example>\r\nTo: bob@x.example, carol@y.example\r\n" +
  "Subject: Lunch\r\nMessage-ID: <lunch.1@sender.example>\r\n\r\nAt noon?\r\n";

export function original(change: Partial<Envelope> = {}, message = MESSAGE): Envelope {
  return {
    sender: "alice@sender.example",
    recipients: [
      { index: 0, address: "bob@x.example" },
      { index: 1, address: "carol@y.example" },
    ],
    content: bytesContent(new TextEncoder().encode(message)),
    client: { ip: "192.0.2.7", host: "unknown", name: "client.example", protocol: "ESMTP" },
    receiver: "edge.example",
    receivedAt: RECEIVED_AT,
    dsn: {},
    eightBit: false,
    smtpUtf8: false,
    ...change,
  };
}

export function refused(
  recipient: Recipient,
  change: Partial<NoticeRecipient> = {},
): NoticeRecipient {
  return {
    recipient,
    reply: reply(550, "5.1.1", `${recipient.address}: no such user here`),
    relay: "mx.x.example[192.0.2.25]:25",
    command: "RCPT TO",
    attemptedAt: RECEIVED_AT + HOUR_MS,
    ...change,
  };
}

export function notice(change: Partial<Notice> = {}): Notice {
  const about = change.original ?? original();
  return {
    action: "failed",
    original: about,
    originalId: "0123456789ABCDEF",
    recipients: about.recipients.map((recipient) => refused(recipient)),
    messageId: "20300102040405.0123456789ABCDEG@edge.example",
    reportingMta: "edge.example",
    postmaster: "postmaster@edge.example",
    now: RECEIVED_AT + HOUR_MS,
    returnBytesMax: RETURN_BYTES_MAX,
    ...change,
  };
}

const later = reply(450, "4.2.0", "Mailbox busy, try later");
const [bob, carol] = original().recipients as [Recipient, Recipient];

/** Everything that a notification can look like, by the name of its golden file. */
export const NOTICES: Record<string, Notice> = {
  failed: notice(),
  "failed-expired": notice({
    original: original({ dsn: { ret: "HDRS", envid: "order 66" } }),
    recipients: [
      refused(
        { ...bob, orcpt: "rfc822;Bob+tag@old.example" },
        {
          reply: { ...later, text: `${later.text} (message expired)` },
          status: "4.4.7",
        },
      ),
      {
        recipient: carol,
        reply: reply(451, "4.4.1", "connect to mx.y.example[192.0.2.26]:25: Connection timed out"),
        attemptedAt: RECEIVED_AT + HOUR_MS,
      },
    ],
  }),
  delayed: notice({
    action: "delayed",
    recipients: [refused(bob, { reply: later, expiresAt: RECEIVED_AT + 120 * HOUR_MS })],
  }),
  delivered: notice({
    action: "delivered",
    recipients: [
      refused(bob, { reply: reply(250, "2.0.0", "Ok: queued as 4ZbX"), command: "end of DATA" }),
    ],
  }),
  relayed: notice({
    action: "relayed",
    recipients: [
      refused(carol, { reply: reply(250, "2.1.5", "Ok"), relay: "192.0.2.26[192.0.2.26]:25" }),
    ],
  }),
  "failed-utf8": notice({
    original: original(
      {
        sender: "älice@sender.example",
        recipients: [
          { index: 0, address: "böb@bücher.example", orcpt: "utf-8;böb@bücher.example" },
        ],
        smtpUtf8: true,
        eightBit: true,
      },
      MESSAGE.replace("Lunch", "Mittagessen für alle").replace("noon", "zwölf"),
    ),
  }),
  "failed-8bit": notice({
    original: original({ eightBit: true }, MESSAGE.replace("noon", "zwölf")),
  }),
};

/** The whole notification as text. */
export function textOf(envelope: Envelope): string {
  return new TextDecoder().decode(contentHead(envelope.content));
}
