import { domainOf } from "../../mail/address.ts";
import type { Envelope } from "../../mail/envelope.ts";
import type { MessageState, MessageSummary, RecipientChange, Settlement } from "../storage.ts";

/** The small mutable state of one message: one row of queue.db. */
export interface Row {
  readonly id: string;
  /** What the schedule sorts by first: see `EPOCH_LEASED`, `EPOCH_HELD`. */
  readonly epoch: number;
  readonly due: number;
  readonly domain: string;
  readonly segment: number;
  /** Where its ENVL block starts, and how long the block's payload is. */
  readonly offset: number;
  readonly length: number;
  /** Octets of content. */
  readonly size: number;
  readonly attempts: number;
  readonly receivedAt: number;
  readonly sender: string;
  readonly recipientCount: number;
  /** What is known of the recipients, as JSON; `null` while nothing was attempted. */
  readonly state: string | null;
}

/**
 * The schedule is ordered by (epoch, due). A message that waits carries the epoch in which its next attempt was set; a
 * flush starts a new epoch, and whoever waits in an older one is due at once, whatever its time. That is why a flush
 * costs the same for ten messages and for a million.
 */
export const EPOCH_FIRST = 1;
/** Being delivered, or about to be. At start such rows go back to waiting. */
export const EPOCH_LEASED = 2 ** 40;
/** Held by an operator: never due. */
export const EPOCH_HELD = 2 ** 41;

/** The part of a row that attempts change, decoded. */
export interface Progress {
  readonly delayNotified: boolean;
  readonly recipients: readonly RecipientChange[];
}

const UNTOUCHED: Progress = { delayNotified: false, recipients: [] };

export function progressOf(row: Row): Progress {
  return row.state === null ? UNTOUCHED : (JSON.parse(row.state) as Progress);
}

/** The indexes that later attempts skip. */
export function doneIndexes(progress: Progress): ReadonlySet<number> {
  const done = progress.recipients.filter((change) => change.status !== "pending");
  return new Set(done.map((change) => change.index));
}

export function stateOf(row: Row): MessageState {
  if (row.epoch === EPOCH_HELD) return "hold";
  if (row.epoch === EPOCH_LEASED) return "active";
  return row.attempts === 0 ? "incoming" : "deferred";
}

/**
 * The row after a settlement, waiting in `epoch`, or `null` when nobody is pending any more. A held message stays held.
 */
export function settledRow(row: Row, settlement: Settlement, epoch: number): Row | null {
  const before = progressOf(row);
  const recipients = mergeChanges(before.recipients, settlement.recipients ?? []);
  const progress: Progress = {
    delayNotified: settlement.delayNotified ?? before.delayNotified,
    recipients,
  };
  if (doneIndexes(progress).size >= row.recipientCount) return null;
  const touched = progress.delayNotified || recipients.length > 0;
  return {
    ...row,
    epoch: row.epoch === EPOCH_HELD ? EPOCH_HELD : epoch,
    due: settlement.due ?? row.due,
    attempts: settlement.attempts ?? row.attempts,
    state: touched ? JSON.stringify(progress) : null,
  };
}

/** The last word on each recipient; an end is final and no later change undoes it. */
function mergeChanges(
  before: readonly RecipientChange[],
  changes: readonly RecipientChange[],
): readonly RecipientChange[] {
  if (changes.length === 0) return before;
  const merged = new Map(before.map((change) => [change.index, change]));
  for (const change of changes) {
    const known = merged.get(change.index);
    if (known === undefined || known.status === "pending") merged.set(change.index, change);
  }
  return [...merged.values()].sort((left, right) => left.index - right.index);
}

/** The row of a message that was never attempted. */
export function newRow(
  message: {
    readonly id: string;
    readonly envelope: Omit<Envelope, "content">;
    readonly due: number;
    readonly size: number;
  },
  at: Pick<Row, "segment" | "offset" | "length">,
  epoch: number,
): Row {
  const { receivedAt, sender, recipients } = message.envelope;
  return {
    id: message.id,
    epoch,
    due: message.due,
    domain: domainOf(recipients[0]?.address ?? ""),
    segment: at.segment,
    offset: at.offset,
    length: at.length,
    size: message.size,
    attempts: 0,
    receivedAt,
    sender,
    recipientCount: recipients.length,
    state: null,
  };
}

/** What a page of `list` shows. */
export function summaryOf(row: Row): MessageSummary {
  const { id, sender, size, receivedAt, due, attempts, domain, recipientCount } = row;
  return {
    id,
    state: stateOf(row),
    sender,
    size,
    receivedAt,
    due,
    attempts,
    domain,
    recipientCount,
  };
}
