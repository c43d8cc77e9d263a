import { formatDate } from "../mail/date.ts";
import { formatReply } from "../mail/reply.ts";
import { paragraph, safeAddress, safeHost } from "./lines.ts";
import type { Notice, NoticeAction, NoticeRecipient } from "./notice.ts";

/** People do not read longer lists; the delivery status has all of them. */
export const RECIPIENTS_SHOWN_MAX = 100;

const INDENT = "    ";

export const SUBJECTS: Record<NoticeAction, string> = {
  failed: "Undelivered Mail Returned to Sender",
  delayed: "Delayed Mail (no action needed, still trying)",
  delivered: "Mail Delivered",
  relayed: "Mail Relayed",
};

/** The part for people: what happened, to whom, what the next hop said, what to do. */
export function explanation(notice: Notice): string {
  const { action, recipients, original, originalId, reportingMta, postmaster } = notice;
  const shown = recipients.slice(0, RECIPIENTS_SHOWN_MAX).map(recipientParagraph);
  const hidden = recipients.length - shown.length;
  if (hidden > 0) shown.push(`... and ${hidden} more, listed in the delivery report.`);
  return [
    paragraph(`This is the mail system at ${safeHost(reportingMta)}.`),
    paragraph(whatHappened(action)),
    ...shown,
    paragraph(whatToDo(notice)),
    paragraph(
      `For help write to ${safeAddress(postmaster)} and attach this message, whose other parts are the ` +
        "delivery report and what you sent.",
    ),
    [`Message:  ${originalId}`, `Received: ${formatDate(original.receivedAt)}`].join("\r\n"),
  ]
    .map((text) => `${text}\r\n`)
    .join("\r\n");
}

function recipientParagraph({ recipient, reply, relay, command }: NoticeRecipient): string {
  const said = relay === undefined ? formatReply(reply) : `${relay} said: ${formatReply(reply)}`;
  const answered = command === undefined ? "" : ` (in reply to ${command})`;
  return `<${safeAddress(recipient.address)}>:\r\n${paragraph(`${said}${answered}`, INDENT)}`;
}

function whatHappened(action: NoticeAction): string {
  switch (action) {
    case "failed":
      return "Your message could not be delivered to the recipients below, and will not be tried again.";
    case "delayed":
      return "Your message has not been delivered yet to the recipients below.";
    case "delivered":
      return "Your message was delivered to the recipients below, as you asked to be told.";
    case "relayed":
      return (
        "Your message was handed over for the recipients below. The mail system that took it does not " +
        "report delivery, so you may hear no more of it."
      );
  }
}

function whatToDo({ action, recipients }: Notice): string {
  switch (action) {
    case "failed":
      return (
        "Please check the addresses and what the other mail system said. If your message still " +
        "matters, send it again."
      );
    case "delayed": {
      const until = Math.max(...recipients.map(({ expiresAt }) => expiresAt ?? 0));
      const end = until > 0 ? ` until ${formatDate(until)}` : "";
      return `You need not do anything. It is tried again${end}; you will be told if that fails.`;
    }
    case "delivered":
    case "relayed":
      return "You need not do anything.";
  }
}
