import { isAscii } from "../mail/address.ts";
import { formatDate } from "../mail/date.ts";
import { formatReply } from "../mail/reply.ts";
import { field, safeAddress, safeHost, unfolded } from "./lines.ts";
import type { Notice, NoticeAction, NoticeRecipient } from "./notice.ts";

/** The classes of RFC 3463 that agree with an action, the one to fall back on first. */
const CLASSES: Record<NoticeAction, readonly string[]> = {
  failed: ["5", "4"],
  delayed: ["4"],
  delivered: ["2"],
  relayed: ["2"],
};

/** The type of a diagnostic that no peer gave (RFC 3464 §2.1.2 leaves `X-` to us). */
const OWN_DIAGNOSTIC = "X-Slimta-Queue";

/** Something that a delivery status of ASCII cannot name: RFC 6533 applies. */
export function isInternational({ original, recipients }: Notice): boolean {
  const names = recipients.flatMap(({ recipient }) => [recipient.address, recipient.orcpt ?? ""]);
  return ![original.sender, original.dsn.envid ?? "", ...names].every(isAscii);
}

/** The body of `message/delivery-status` (RFC 3464 §2), or of its international form (RFC 6533 §4). */
export function deliveryStatus(notice: Notice): string {
  const groups = [messageFields(notice)];
  for (const recipient of notice.recipients) groups.push(recipientFields(notice.action, recipient));
  return groups.map((fields) => `${fields.join("\r\n")}\r\n`).join("\r\n");
}

function messageFields({ original, originalId, reportingMta }: Notice): string[] {
  const { dsn, client, receivedAt } = original;
  const fields = [
    unfolded("Reporting-MTA", `dns; ${safeHost(reportingMta)}`),
    field("X-Queue-ID", originalId),
    field("Arrival-Date", formatDate(receivedAt)),
  ];
  if (dsn.envid !== undefined)
    fields.unshift(unfolded("Original-Envelope-Id", safeAddress(dsn.envid)));
  if (client.name !== "" && client.protocol !== "LOCAL") {
    fields.push(unfolded("Received-From-MTA", `dns; ${safeHost(client.name)}`));
  }
  return fields;
}

function recipientFields(action: NoticeAction, to: NoticeRecipient): string[] {
  const { recipient, reply, relay, attemptedAt, expiresAt } = to;
  const fields = [
    unfolded(
      "Final-Recipient",
      `${addressType(recipient.address)}; ${safeAddress(recipient.address)}`,
    ),
    field("Action", action),
    field("Status", statusOf(action, to)),
  ];
  if (recipient.orcpt !== undefined) {
    fields.unshift(unfolded("Original-Recipient", originalRecipient(recipient.orcpt)));
  }
  if (relay !== undefined) fields.push(unfolded("Remote-MTA", `dns; ${relayHost(relay)}`));
  const type = relay === undefined ? OWN_DIAGNOSTIC : "smtp";
  fields.push(field("Diagnostic-Code", `${type}; ${formatReply(reply)}`));
  fields.push(field("Last-Attempt-Date", formatDate(attemptedAt)));
  if (action === "delayed" && expiresAt !== undefined) {
    fields.push(field("Will-Retry-Until", formatDate(expiresAt)));
  }
  return fields;
}

/** A status of a class that agrees with the action, whatever the peer said. */
function statusOf(action: NoticeAction, { status, reply }: NoticeRecipient): string {
  const given = status ?? reply.enhanced;
  const classes = CLASSES[action];
  const believed = /^\d\.\d{1,3}\.\d{1,3}$/u.test(given) && classes.includes(given.charAt(0));
  return believed ? given : `${classes[0]}.0.0`;
}

function addressType(address: string): string {
  return isAscii(address) ? "rfc822" : "utf-8";
}

/** `type;address` as it came with ORCPT; the type is `rfc822` where it is none. */
function originalRecipient(orcpt: string): string {
  const semicolon = orcpt.indexOf(";");
  const type = orcpt.slice(0, Math.max(0, semicolon));
  const address = safeAddress(orcpt.slice(semicolon + 1));
  return `${/^[A-Za-z0-9-]{1,64}$/u.test(type) ? type : "rfc822"}; ${address}`;
}

/** The host of `mx.example[192.0.2.1]:25`; an address literal when it has no name. */
function relayHost(relay: string): string {
  const [, host = "", ip = ""] = /^([^[\]]*)\[([^\]]*)\]/u.exec(relay) ?? [];
  if (host !== "" && host !== ip) return safeHost(host);
  return ip === "" ? safeHost(relay) : `[${safeHost(ip)}]`;
}
