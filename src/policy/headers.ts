import { compactDate, formatDate } from "../mail/date.ts";
import { headerOf, withField } from "../mail/header.ts";
import type { Policy } from "./policy.ts";

/** Adds `Date`, the time of reception, to a message that has none: the parent's `AddDateHeader`. */
export const addDateHeader: Policy = (envelope) => {
  if (headerOf(envelope.content).hasDate) return null;
  const content = withField(envelope.content, `Date: ${formatDate(envelope.receivedAt)}`);
  return [{ ...envelope, content }];
};

/**
 * Adds `Message-ID` to a message that has none: the parent's `AddMessageIdHeader`. All parts of one transaction get the
 * same, since they are the same message.
 */
export const addMessageIdHeader: Policy = (envelope, { id, hostname }) => {
  if (headerOf(envelope.content).messageId !== undefined) return null;
  const field = `Message-ID: <${compactDate(envelope.receivedAt)}.${id}@${hostname}>`;
  return [{ ...envelope, content: withField(envelope.content, field) }];
};
