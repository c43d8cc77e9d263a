import { domainOf } from "../mail/address.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import { QueueError } from "../mail/queue-error.ts";
import type {
  Lease,
  MessageState,
  MessageSummary,
  Moving,
  RecipientChange,
  Settlement,
  StoredMessage,
} from "./storage.ts";

/** The small mutable state of one message, the same in every engine. */
export interface MessageRow {
  /** The message's id. */
  readonly id: string;
  /** What the schedule sorts by first: see `EPOCH_LEASED`, `EPOCH_HELD`. */
  readonly epoch: number;
  /** When the next attempt is. */
  readonly due: number;
  /** Of the first pending recipient. */
  readonly domain: string;
  /** Octets of content. */
  readonly size: number;
  /** Completed ones. */
  readonly attempts: number;
  /** When it was received. */
  readonly receivedAt: number;
  /** The return path; empty for the null sender. */
  readonly sender: string;
  /** Recipients that the envelope had when it was stored. */
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
  /** The domain of every recipient, kept only when they differ. */
  readonly domains?: readonly string[];
  readonly moving?: Moving;
}

const UNTOUCHED: Progress = { delayNotified: false, recipients: [] };

/** A state that cannot be read counts as none: who has the mail may get it again, nobody goes without. */
export function progressOf({ state }: Pick<MessageRow, "state">): Progress {
  return state === null ? UNTOUCHED : (readProgress(state) ?? UNTOUCHED);
}

/** `undefined`: this is nothing that an attempt has written. */
export function readProgress(state: string): Progress | undefined {
  try {
    const progress = JSON.parse(state) as Partial<Progress> | null;
    const { recipients, domains, delayNotified, moving } = progress ?? {};
    const isSound =
      typeof delayNotified === "boolean" &&
      isListOf(recipients, isChange) &&
      (domains === undefined || isListOf(domains, isText)) &&
      (moving === undefined || isMoving(moving));
    return isSound ? (progress as Progress) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a value out of a file is a settlement. */
export function isSettlement(value: unknown): value is Settlement {
  if (typeof value !== "object" || value === null) return false;
  const { attempts, recipients, due, delayNotified, held, moving } = value as Settlement;
  return (
    (attempts === undefined || Number.isSafeInteger(attempts)) &&
    (due === undefined || Number.isFinite(due)) &&
    (recipients === undefined || isListOf(recipients, isChange)) &&
    [delayNotified, held].every((flag) => flag === undefined || typeof flag === "boolean") &&
    (moving === undefined || moving === null || isMoving(moving))
  );
}

function isMoving(value: unknown): boolean {
  const { from, to, held } = (value ?? {}) as Partial<Moving>;
  return isText(from) && isText(to) && typeof held === "boolean";
}

const STATUSES: ReadonlySet<unknown> = new Set(["pending", "delivered", "bounced", "dropped"]);

function isChange(value: unknown): boolean {
  const { index, status, reply, relay } = (value ?? {}) as Partial<RecipientChange>;
  return (
    Number.isSafeInteger(index) &&
    STATUSES.has(status) &&
    (reply === undefined || isReply(reply)) &&
    (relay === undefined || isText(relay))
  );
}

function isReply(value: unknown): boolean {
  const { code, enhanced, text } = (value ?? {}) as Record<string, unknown>;
  return Number.isSafeInteger(code) && isText(enhanced) && isText(text);
}

function isListOf(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem);
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

export function stateOf(row: MessageRow): MessageState {
  if (row.epoch === EPOCH_HELD) return "hold";
  if (row.epoch === EPOCH_LEASED) return "active";
  return row.attempts === 0 ? "incoming" : "deferred";
}

/**
 * The row after a settlement, or `null` when nobody is pending any more. It waits in `epoch` when its next attempt was set,
 * or its lease or its hold ends with this; else it keeps its place, and a held message stays held. Indexes that the
 * message does not have are ignored.
 */
export function settledRow<R extends MessageRow>(
  row: R,
  settlement: Settlement,
  epoch: number,
): R | null {
  if (isWholeEnd(row, settlement)) return null;
  const before = progressOf(row);
  const isOurs = ({ index }: RecipientChange): boolean =>
    Number.isInteger(index) && index >= 0 && index < row.recipientCount;
  const recipients = mergeChanges(before.recipients, (settlement.recipients ?? []).filter(isOurs));
  const { moving: wasMoving, ...rest } = before;
  const moving = settlement.moving === undefined ? wasMoving : settlement.moving;
  const progress: Progress = {
    ...rest,
    delayNotified: settlement.delayNotified ?? before.delayNotified,
    recipients,
    ...(moving && { moving }),
  };
  const done = doneIndexes(progress);
  if (done.size >= row.recipientCount) return null;
  const isTouched =
    progress.delayNotified || recipients.length > 0 || progress.domains || progress.moving;
  return {
    ...row,
    domain: progress.domains?.find((_, index) => !done.has(index)) ?? row.domain,
    epoch: epochAfter(row, settlement, epoch),
    due: Math.round(settlement.due ?? row.due),
    attempts: settlement.attempts ?? row.attempts,
    state: isTouched ? JSON.stringify(progress) : null,
  };
}

/** What becomes of nearly every message: its one recipient is done with the first attempt. */
function isWholeEnd(row: MessageRow, { recipients = [] }: Settlement): boolean {
  const [only] = recipients;
  return (
    row.recipientCount === 1 &&
    recipients.length === 1 &&
    only?.index === 0 &&
    only.status !== "pending"
  );
}

/** The row of a new message, waiting in `epoch`, with what it comes with. */
export function newRow(
  message: {
    readonly id: string;
    readonly envelope: Omit<Envelope, "content">;
    readonly due: number;
    readonly size: number;
    readonly settlement?: Settlement | undefined;
  },
  epoch: number,
): MessageRow {
  const row = untouchedRow(message, epoch);
  if (message.settlement === undefined) return row;
  const settled = settledRow(row, message.settlement, epoch);
  if (settled === null) throw new QueueError(`message ${message.id} has nobody left to be sent to`);
  return settled;
}

function untouchedRow(message: Parameters<typeof newRow>[0], epoch: number): MessageRow {
  const { receivedAt, sender, recipients } = message.envelope;
  const domain = domainOf(recipients[0]?.address ?? "");
  const domains = recipients.length > 1 ? recipients.map(({ address }) => domainOf(address)) : [];
  const differ = domains.some((other) => other !== domain);
  return {
    id: message.id,
    epoch,
    due: Math.round(message.due),
    domain,
    size: message.size,
    attempts: 0,
    receivedAt: Math.round(receivedAt),
    sender,
    recipientCount: recipients.length,
    state: differ ? JSON.stringify({ ...UNTOUCHED, domains }) : null,
  };
}

/** A row under lease. What a flush made due is due for good: its old time must not come back when the lease ends. */
export function leasedRow<R extends MessageRow>(row: R, now: number): R {
  return { ...row, epoch: EPOCH_LEASED, due: Math.min(row.due, now) };
}

export function leaseOf({ id, domain, due }: MessageRow): Lease {
  return { id, domain, due };
}

/** What a page of `list` shows. */
export function summaryOf(row: MessageRow): MessageSummary {
  const { id, sender, size, receivedAt, due, attempts, domain, recipientCount } = row;
  const state = stateOf(row);
  // Most rows have no such thing, and need not be read for it.
  const moving = row.state?.includes('"moving"') ? progressOf(row).moving : undefined;
  const facts = { id, state, sender, size, receivedAt, due, attempts, domain, recipientCount };
  return moving === undefined ? facts : { ...facts, moving };
}

/** What `get` answers, out of the envelope as it was stored. */
export function storedMessage(row: MessageRow, envelope: Envelope): StoredMessage {
  const progress = progressOf(row);
  const done = doneIndexes(progress);
  const pending = envelope.recipients.filter(({ index }) => !done.has(index));
  return {
    id: row.id,
    envelope: done.size === 0 ? envelope : { ...envelope, recipients: pending },
    attempts: row.attempts,
    due: row.due,
    state: stateOf(row),
    delayNotified: progress.delayNotified,
    recipientCount: row.recipientCount,
    original: envelope.recipients,
    recipients: progress.recipients,
    ...(progress.moving && { moving: progress.moving }),
  };
}

/** Every recipient's index is its place in the envelope that is stored, whatever it was before. */
export function numbered(envelope: Envelope): Envelope {
  const isNumbered = ({ index }: Recipient, place: number): boolean => index === place;
  if (envelope.recipients.every(isNumbered)) return envelope;
  const recipients = envelope.recipients.map((recipient, index) => ({ ...recipient, index }));
  return { ...envelope, recipients };
}

/** The indexes that later attempts skip. */
function doneIndexes(progress: Progress): ReadonlySet<number> {
  const done = progress.recipients.filter((change) => change.status !== "pending");
  return new Set(done.map((change) => change.index));
}

function epochAfter(row: MessageRow, { held, due }: Settlement, waiting: number): number {
  const isHeld = held ?? row.epoch === EPOCH_HELD;
  if (isHeld) return EPOCH_HELD;
  const isFreed = row.epoch === EPOCH_HELD || row.epoch === EPOCH_LEASED;
  return isFreed || due !== undefined ? waiting : row.epoch;
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
