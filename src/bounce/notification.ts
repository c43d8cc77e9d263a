import { assert } from "../lib/assert.ts";
import { isAscii } from "../mail/address.ts";
import { bytesContent, concatBytes } from "../mail/content.ts";
import { formatDate } from "../mail/date.ts";
import type { Client, Envelope } from "../mail/envelope.ts";
import { headerOf } from "../mail/header.ts";
import { explanation, SUBJECTS } from "./explanation.ts";
import { field, safe, safeAddress, safeHost, unfolded } from "./lines.ts";
import type { Notice } from "./notice.ts";
import { joinParts, type Multipart, type Part } from "./part.ts";
import { returnedPart } from "./returned-part.ts";
import { deliveryStatus, isInternational } from "./status.ts";

const encoder = new TextEncoder();

/** The longest message id that is referred to; a longer one does not fit into a line. */
const MESSAGE_ID_MAX = 900;

/**
 * Makes a notification (RFC 3461 §6, RFC 3464, RFC 6522; with international addresses RFC 6533): the stock
 * `BounceFactory`. Its return path is null, so that nothing is ever said about it. 7-bit unless an address or what is
 * returned needs more. Deterministic: the same notice gives the same bytes. Nothing that a peer or a sender wrote can
 * add a field, end a part or make a line too long.
 */
export function buildNotification(notice: Notice): Envelope {
  assert(notice.recipients.length > 0, "a notification is about somebody");
  const { original, reportingMta, now } = notice;
  const multipart = joinParts([...reportParts(notice), returnedPart(notice)], notice.originalId);
  const header = encoder.encode(`${headerFields(notice, multipart).join("\r\n")}\r\n\r\n`);
  const isUtf8 = !isAscii(original.sender);
  return {
    sender: "",
    recipients: [{ index: 0, address: original.sender }],
    content: bytesContent(concatBytes([header, multipart.bytes])),
    client: localClient(reportingMta),
    receiver: reportingMta,
    receivedAt: now,
    dsn: {},
    eightBit: multipart.isEightBit || isUtf8,
    smtpUtf8: isUtf8,
  };
}

/** As in the parent, notifications come from this host itself. */
function localClient(hostname: string): Client {
  return { ip: "127.0.0.1", host: "localhost", name: hostname, protocol: "LOCAL" };
}

/** For people and for programs. ASCII as long as no address asks for more, whatever language a peer speaks. */
function reportParts(notice: Notice): readonly Part[] {
  const isUtf8 = isInternational(notice);
  const encode = (text: string) => encoder.encode(isUtf8 ? text : ascii(text));
  return [
    {
      type: `text/plain; charset=${isUtf8 ? "utf-8" : "us-ascii"}`,
      description: "Notification",
      bytes: encode(explanation(notice)),
    },
    {
      type: `message/${statusType(notice)}`,
      description: "Delivery report",
      bytes: encode(deliveryStatus(notice)),
    },
  ];
}

function ascii(text: string): string {
  return text.replace(/[^\p{ASCII}]/gu, "?");
}

function statusType(notice: Notice): string {
  return isInternational(notice) ? "global-delivery-status" : "delivery-status";
}

function headerFields(notice: Notice, { boundary, isEightBit }: Multipart): string[] {
  const { action, original, messageId, reportingMta, now } = notice;
  return [
    unfolded("From", `Mail Delivery System <MAILER-DAEMON@${safeHost(reportingMta)}>`),
    unfolded("To", `<${safeAddress(original.sender)}>`),
    field("Subject", SUBJECTS[action]),
    field("Date", formatDate(now)),
    unfolded("Message-ID", `<${safe(messageId)}>`),
    ...references(original),
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    // RFC 6522 §3: the type of report is the subtype of its second part.
    `Content-Type: multipart/report; report-type=${statusType(notice)};\r\n\tboundary="${boundary}"`,
    `Content-Transfer-Encoding: ${isEightBit ? "8bit" : "7bit"}`,
  ];
}

/** RFC 3834 §3.1.5, so that mail programs show the notice with the message. */
function references({ content }: Envelope): string[] {
  const { messageId = "" } = headerOf(content);
  if (messageId.length > MESSAGE_ID_MAX || !/^<[!-;=?-~]+>$/u.test(messageId)) return [];
  return [unfolded("In-Reply-To", messageId), unfolded("References", messageId)];
}
