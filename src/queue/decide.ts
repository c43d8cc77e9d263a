import type { Reply } from "../mail/reply.ts";
import { printable, REPLY_TEXT_MAX, reply } from "../mail/reply.ts";
import type { Outcome, Remote } from "../relay/relay.ts";
import type { RecipientChange, RecipientStatus } from "../storage/storage.ts";

/**
 * What to do about an attempt. Each pending recipient stands in `changes` once; whoever was not delivered is in
 * exactly one of `keep` and `bounce`.
 */
export type Verdict = FinishVerdict | RetryVerdict;

/** Nobody is left to try: the message ends with this settlement. */
export interface FinishVerdict extends Ends {
  readonly kind: "finish";
  readonly keep: readonly [];
}

/** Somebody is tried again after `delayMs`. */
export interface RetryVerdict extends Ends {
  readonly kind: "retry";
  readonly delayMs: number;
  /** Indexes of the recipients that stay pending. */
  readonly keep: readonly number[];
}

interface Ends {
  /** For the settlement: the end or the latest reply of every recipient that was pending. */
  readonly changes: readonly RecipientChange[];
  /** Undeliverable, to be reported to the sender. Where retries are exhausted the text of the reply says so. */
  readonly bounce: readonly Outcome[];
  /** Delivered, to be reported to senders who asked for it (RFC 3461 NOTIFY=SUCCESS). */
  readonly delivered: readonly Outcome[];
}

export interface DecideInput {
  /** Indexes of the recipients that the attempt was for. */
  readonly pending: readonly number[];
  readonly outcomes: readonly Outcome[];
  /** What the backoff says; `null` gives up. */
  readonly delayMs: number | null;
  /** When giving up: because the message outlived its lifetime, not because it was tried too often. */
  readonly expired: boolean;
}

/** What the parent appends to the reply that was the last. */
const TOO_MANY_RETRIES = " (Too many retries)";
const EXPIRED = " (message expired)";

/** RFC 3463 §3.4: an expired message's status, whatever the latest reply was. */
export const EXPIRED_STATUS = "4.4.7";

const UNKNOWN_RESULT = reply(451, "4.3.0", "Delivery ended without a result for this recipient");

/**
 * Joins what happened with what the backoff says: the only place that decides between retry and bounce. The first
 * outcome of a recipient counts. A recipient without one is deferred, so that nobody vanishes; an outcome of anybody
 * else is ignored.
 */
export function decide({ pending, outcomes, delayMs, expired }: DecideInput): Verdict {
  const final = outcomePerRecipient(pending, outcomes);
  const delivered = final.filter(({ kind }) => kind === "delivered");
  const rejected = final.filter(({ kind }) => kind === "rejected");
  const deferred = final.filter(({ kind }) => kind === "deferred");
  if (delayMs === null || deferred.length === 0) {
    const givenUp = deferred.map((outcome) =>
      exhausted(outcome, expired ? EXPIRED : TOO_MANY_RETRIES),
    );
    const bounce = [...rejected, ...givenUp];
    const changes = [...changesTo("delivered", delivered), ...changesTo("bounced", bounce)];
    return { kind: "finish", keep: [], changes, bounce, delivered };
  }
  const changes = [
    ...changesTo("delivered", delivered),
    ...changesTo("bounced", rejected),
    ...changesTo("pending", deferred),
  ];
  const keep = deferred.map(({ recipient }) => recipient);
  return { kind: "retry", delayMs, keep, changes, bounce: rejected, delivered };
}

function outcomePerRecipient(
  pending: readonly number[],
  outcomes: readonly Outcome[],
): readonly Outcome[] {
  const [only] = outcomes;
  // What nearly every message is.
  if (pending.length === 1 && outcomes.length === 1 && only?.recipient === pending[0])
    return outcomes;
  const first = new Map<number, Outcome>();
  for (const outcome of outcomes) {
    if (!first.has(outcome.recipient)) first.set(outcome.recipient, outcome);
  }
  return [...new Set(pending)].map((recipient) => first.get(recipient) ?? withoutResult(recipient));
}

function withoutResult(recipient: number): Outcome {
  return { recipient, kind: "deferred", reply: UNKNOWN_RESULT, setupMs: 0, transferMs: 0 };
}

function exhausted(outcome: Outcome, why: string): Outcome {
  const text = printable(outcome.reply.text, REPLY_TEXT_MAX - why.length);
  const last: Reply = { ...outcome.reply, text: `${text}${why}`.trimStart() };
  return { ...outcome, reply: last };
}

function changesTo(status: RecipientStatus, outcomes: readonly Outcome[]): RecipientChange[] {
  return outcomes.map(({ recipient, reply: answer, remote }) => ({
    index: recipient,
    status,
    reply: answer,
    ...(remote ? { relay: remoteName(remote) } : {}),
  }));
}

/** `mx.example[192.0.2.1]:25`, as Postfix writes it. */
export function remoteName({ host, ip, port }: Remote): string {
  return `${host}[${ip}]:${port}`;
}
