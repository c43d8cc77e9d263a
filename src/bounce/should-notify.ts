import { derivedId } from "../lib/id.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import { headerOf } from "../mail/header.ts";
import type { NoticeAction } from "./notice.ts";

/**
 * Whether the sender is told what became of a recipient: the only place that decides it.
 *
 * - Never of mail with the null return path: it is a notification itself (RFC 5321 §6.1).
 * - Never with NOTIFY=NEVER, otherwise of what NOTIFY names (RFC 3461 §4.1). Without NOTIFY of failures and delays.
 * - Not of delays of what a program wrote (RFC 3834 §5): nobody waits there.
 */
export function shouldNotify(
  original: Envelope,
  recipient: Recipient,
  action: NoticeAction,
): boolean {
  if (original.sender === "" || original.sender === "<>") return false;
  const { notify } = recipient;
  if (notify?.includes("NEVER")) return false;
  switch (action) {
    case "failed":
      return notify?.includes("FAILURE") ?? true;
    case "delayed":
      return (notify?.includes("DELAY") ?? true) && !isAutomatic(original);
    case "delivered":
    case "relayed":
      return notify?.includes("SUCCESS") ?? false;
  }
}

/** RFC 3834 §5: any value but `no`, parameters and comments aside. */
function isAutomatic({ content }: Envelope): boolean {
  const { autoSubmitted } = headerOf(content);
  return autoSubmitted !== undefined && !/^no\b/iu.test(autoSubmitted);
}

/**
 * The queue id of a notification, which follows from what it reports: after a crash the same one is made again under
 * the same id, and writing that is a no-op (P4).
 */
export function notificationId(
  originalId: string,
  action: NoticeAction,
  recipientIndexes: readonly number[],
): string {
  const indexes = recipientIndexes.toSorted((one, other) => one - other).map(String);
  return derivedId(originalId, [originalId, action, ...indexes]);
}
