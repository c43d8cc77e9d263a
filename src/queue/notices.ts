import type { BounceFactory, NoticeAction, NoticeRecipient } from "../bounce/notice.ts";
import { notificationId, shouldNotify } from "../bounce/should-notify.ts";
import type { Envelope } from "../mail/envelope.ts";
import type { Outcome } from "../relay/relay.ts";
import type { StoredMessage } from "../storage/storage.ts";
import { EXPIRED_STATUS, remoteName, type Verdict } from "./decide.ts";

/** A notification to the sender of a message, with an id that follows from what it is about (P4). */
export interface Notification {
  readonly id: string;
  readonly action: NoticeAction;
  readonly envelope: Envelope;
}

export interface NoticeOptions {
  readonly factory: BounceFactory;
  readonly hostname: string;
  readonly postmaster: string;
  readonly returnBytesMax: number;
  /** A message older than this that still waits is reported as delayed, once; `null` never. */
  readonly delayNoticeMs: number | null;
}

export interface NoticeInput {
  readonly message: StoredMessage;
  readonly verdict: Verdict;
  readonly outcomes: readonly Outcome[];
  readonly expired: boolean;
  readonly now: number;
  readonly expiresAt: number;
}

/** Every notification that an attempt makes due: at most one for each action. Pure. */
export function noticesFor(input: NoticeInput, options: NoticeOptions): readonly Notification[] {
  const { verdict, expired } = input;
  const isRelayed = (outcome: Outcome): boolean => outcome.dsnRelayed === false;
  const failed = expired
    ? verdict.bounce.map((outcome) => ({ outcome, status: statusOf(outcome) }))
    : verdict.bounce.map((outcome) => ({ outcome }));
  const wantsSuccess = input.message.envelope.recipients.some(({ notify }) => notify !== undefined);
  const relayed = wantsSuccess
    ? verdict.delivered.filter(isRelayed).map((outcome) => ({ outcome }))
    : [];
  const parts: readonly [NoticeAction, readonly Reported[]][] = [
    ["failed", failed],
    // A next hop that knows DSN notifies of success itself (RFC 3461 §5.2.2); of others we know just this much.
    ["relayed", relayed],
    ["delayed", isLate(input, options) ? stillWaiting(input) : []],
  ];
  return parts.flatMap(([action, reported]) => notification(action, reported, input, options));
}

/** Whether this attempt is the one to send the delay notice. */
export function isLate(
  { message, verdict, now }: Pick<NoticeInput, "message" | "verdict" | "now">,
  { delayNoticeMs }: Pick<NoticeOptions, "delayNoticeMs">,
): boolean {
  if (verdict.kind !== "retry" || message.delayNotified || delayNoticeMs === null) return false;
  return now - message.envelope.receivedAt >= delayNoticeMs;
}

interface Reported {
  readonly outcome: Outcome;
  readonly status?: string;
}

/** What was deferred until its time was over has expired; what was rejected has the status that its peer gave it. */
function statusOf(outcome: Outcome): string {
  return outcome.kind === "deferred" ? EXPIRED_STATUS : outcome.reply.enhanced;
}

function stillWaiting({ verdict, outcomes }: NoticeInput): readonly Reported[] {
  const kept = new Set<number>(verdict.keep);
  return outcomes.filter(({ recipient }) => kept.has(recipient)).map((outcome) => ({ outcome }));
}

function notification(
  action: NoticeAction,
  reported: readonly Reported[],
  input: NoticeInput,
  options: NoticeOptions,
): readonly Notification[] {
  // Most attempts make nothing due.
  if (reported.length === 0) return [];
  const { message, now, expiresAt } = input;
  const original = message.envelope;
  const byIndex = new Map(original.recipients.map((recipient) => [recipient.index, recipient]));
  const recipients: NoticeRecipient[] = [];
  for (const { outcome, status } of reported) {
    const recipient = byIndex.get(outcome.recipient);
    if (recipient === undefined || !shouldNotify(original, recipient, action)) continue;
    const until = action === "delayed" ? { expiresAt } : {};
    recipients.push({ recipient, attemptedAt: now, ...factsOf(outcome, status), ...until });
  }
  if (recipients.length === 0) return [];
  const id = notificationId(
    message.id,
    action,
    recipients.map(({ recipient }) => recipient.index),
  );
  const envelope = options.factory({
    action,
    original,
    originalId: message.id,
    recipients,
    messageId: `${id}@${options.hostname}`,
    reportingMta: options.hostname,
    postmaster: options.postmaster,
    now,
    returnBytesMax: options.returnBytesMax,
  });
  return envelope === null ? [] : [{ id, action, envelope }];
}

function factsOf(
  { reply, remote, command }: Outcome,
  status: string | undefined,
): Pick<NoticeRecipient, "reply" | "status" | "relay" | "command"> {
  return {
    reply,
    ...(status === undefined ? {} : { status }),
    ...(remote ? { relay: remoteName(remote) } : {}),
    ...(command === undefined ? {} : { command }),
  };
}
