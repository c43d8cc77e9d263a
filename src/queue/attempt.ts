import type { World } from "../lib/world.ts";
import { domainOf } from "../mail/address.ts";
import type { Envelope } from "../mail/envelope.ts";
import { reply } from "../mail/reply.ts";
import type { DeliveryEvent, Emit } from "../observe/events.ts";
import type { Outcome, Relay } from "../relay/relay.ts";
import type { Backoff } from "../schedule/backoff.ts";
import type { QueueStorage, Settlement, StoredMessage } from "../storage/storage.ts";
import type { Deadlines } from "./deadlines.ts";
import { decide, remoteName, type Verdict } from "./decide.ts";
import { isLate, type NoticeOptions, type Notification, noticesFor } from "./notices.ts";

/** How long a message is tried, by whom it is from: a notification that nobody takes is not worth five days. */
export interface Lifetimes {
  readonly backoff: Backoff;
  readonly lifetimeMs: number;
  readonly bounceBackoff: Backoff;
  readonly bounceLifetimeMs: number;
}

export interface AttemptParts {
  readonly storage: QueueStorage;
  readonly relay: Relay;
  readonly world: World;
  readonly emit: Emit;
  readonly holder: string;
  readonly lifetimes: Lifetimes;
  readonly notices: NoticeOptions;
  /**
   * Stores notifications together with the settlement that makes them due (P4). The queue decides whether in one step,
   * in its own storage, or first in another queue.
   */
  readonly settle: (
    message: StoredMessage,
    settlement: Settlement,
    notifications: readonly Notification[],
  ) => Promise<void>;
}

/** What the runner learns of an attempt once the relay is done with it. */
export interface Attempted {
  /** What it says of the destination; absent when it was broken off or failed on this side. */
  readonly evidence?: readonly Outcome[];
  /** Resolves when it is settled. */
  readonly settled: Promise<void>;
}

export interface AttemptInput {
  readonly id: string;
  readonly destination: string;
  readonly takenAt: number;
}

/**
 * Hands a message to the relay once and settles what came of it. `undefined` when it was put on hold since it was taken, or
 * its lease has ended: it is not tried.
 */
export async function attempt(
  input: AttemptInput,
  parts: AttemptParts,
  deadlines: Deadlines,
): Promise<Attempted | undefined> {
  const message = await parts.storage.get(input.id);
  if (message.state === "hold") {
    await parts.storage.release([input.id], parts.holder);
    return undefined;
  }
  const now = parts.world.clock.now();
  if (!isOurs(message, parts.holder, now)) return undefined;
  const timing = { ...input, startedAt: now };
  const signal = deadlines.signal();
  const outcomes = await deliver(message, parts, signal);
  if (deadlines.isBrokenOff(signal)) {
    return { settled: settleAborted(message, outcomes ?? [], timing, parts) };
  }
  if (outcomes === undefined) {
    return { settled: settleOutcomes(message, failedHere(message), timing, parts) };
  }
  return { evidence: outcomes, settled: settleOutcomes(message, outcomes, timing, parts) };
}

/**
 * A process that was stopped for longer than its leases last must not deliver what others have delivered since; the answer of
 * the store may be from before.
 */
function isOurs({ state, lease }: StoredMessage, holder: string, now: number): boolean {
  const isMine = lease === undefined || (lease.holder === holder && lease.until > now);
  return state === "active" && isMine;
}

/** A relay that throws has a defect. That must not cost the message its life, nor be tried again without end (P6). */
async function deliver(
  { id, envelope, attempts }: StoredMessage,
  { relay, emit }: AttemptParts,
  signal: AbortSignal,
): Promise<readonly Outcome[] | undefined> {
  try {
    return await relay.deliver({ id, envelope, attempts }, signal);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    emit({ kind: "lifecycle", what: "error", text: `bug: the relay failed with ${id}: ${reason}` });
    return undefined;
  }
}

function failedHere({ envelope }: StoredMessage): readonly Outcome[] {
  const said = reply(451, "4.3.0", "Delivery failed on this side");
  return envelope.recipients.map(({ index }) => ({
    recipient: index,
    kind: "deferred",
    reply: said,
    setupMs: 0,
    transferMs: 0,
  }));
}

export interface Timing extends AttemptInput {
  readonly startedAt: number;
}

/** When a message stops being tried. */
export function expiryOf(
  envelope: Pick<Envelope, "sender" | "receivedAt">,
  lifetimes: Lifetimes,
): number {
  const { lifetimeMs, bounceLifetimeMs } = lifetimes;
  return envelope.receivedAt + (envelope.sender === "" ? bounceLifetimeMs : lifetimeMs);
}

/** Asks the backoff, and stores what follows from it and the outcomes in one step (P3, P4). */
export async function settleOutcomes(
  message: StoredMessage,
  outcomes: readonly Outcome[],
  timing: Timing,
  parts: AttemptParts,
): Promise<void> {
  const { clock, random } = parts.world;
  const { envelope } = message;
  const now = clock.now();
  const attempts = message.attempts + 1;
  const { backoff, bounceBackoff } = parts.lifetimes;
  const chosen = envelope.sender === "" ? bounceBackoff : backoff;
  const delayMs = chosen(attempts, now - envelope.receivedAt, random());
  const expired = delayMs === null && now >= expiryOf(envelope, parts.lifetimes);
  await conclude({ message, outcomes, timing, attempts, delayMs, expired }, parts);
}

/** An attempt, or an operator's decision, whose consequences are known. */
export interface Conclusion {
  readonly message: StoredMessage;
  readonly outcomes: readonly Outcome[];
  readonly timing: Timing;
  /** The count from here on. */
  readonly attempts: number;
  readonly delayMs: number | null;
  readonly expired: boolean;
}

export async function conclude(
  { message, outcomes, timing, attempts, delayMs, expired }: Conclusion,
  parts: Pick<AttemptParts, "world" | "emit" | "lifetimes" | "notices" | "settle">,
): Promise<void> {
  const { envelope, id } = message;
  const now = parts.world.clock.now();
  const expiresAt = expiryOf(envelope, parts.lifetimes);
  const pending = envelope.recipients.map(({ index }) => index);
  const verdict = decide({ pending, outcomes, delayMs, expired });
  const input = { message, verdict, outcomes, expired, now, expiresAt };
  const notifications = noticesFor(input, parts.notices);
  const nextAt = verdict.kind === "retry" ? now + verdict.delayMs : undefined;
  const settlement: Settlement = {
    attempts,
    recipients: verdict.changes,
    ...(nextAt === undefined ? {} : { due: nextAt }),
    ...(isLate(input, parts.notices) ? { delayNotified: true } : {}),
  };
  tellDeliveries(message, verdict, outcomes, timing, nextAt, parts);
  if (expired) parts.emit({ kind: "expired", id, sender: envelope.sender });
  await parts.settle(message, settlement, notifications);
  tellNotifications(id, notifications, parts.emit);
  if (verdict.kind === "finish") parts.emit({ kind: "removed", id });
}

/**
 * The attempt was broken off: whoever was not reached loses no attempt and no time; what a peer did take stands. Rejected
 * recipients wait for the next start too, which will report them.
 */
async function settleAborted(
  message: StoredMessage,
  outcomes: readonly Outcome[],
  timing: Timing,
  parts: AttemptParts,
): Promise<void> {
  const pending = new Set(message.envelope.recipients.map(({ index }) => index));
  const delivered = outcomes.filter(
    ({ kind, recipient }) => kind === "delivered" && pending.has(recipient),
  );
  if (delivered.length === 0) return await parts.storage.release([message.id], parts.holder);
  const verdict = decide({
    pending: delivered.map(({ recipient }) => recipient),
    outcomes: delivered,
    delayMs: null,
    expired: false,
  });
  const now = parts.world.clock.now();
  const expiresAt = expiryOf(message.envelope, parts.lifetimes);
  const input = { message, verdict, outcomes: delivered, expired: false, now, expiresAt };
  const notifications = noticesFor(input, parts.notices);
  tellDeliveries(message, verdict, delivered, timing, undefined, parts);
  await parts.settle(message, { recipients: verdict.changes }, notifications);
  tellNotifications(message.id, notifications, parts.emit);
  const isFinished = verdict.changes.length === pending.size;
  if (isFinished) parts.emit({ kind: "removed", id: message.id });
}

function tellNotifications(id: string, notifications: readonly Notification[], emit: Emit): void {
  for (const { id: notificationId, action } of notifications) {
    emit({ kind: "notification", id, notificationId, action });
  }
}

const STATUS = {
  delivered: "sent",
  bounced: "bounced",
  dropped: "bounced",
  pending: "deferred",
} as const;

function tellDeliveries(
  message: StoredMessage,
  verdict: Verdict,
  outcomes: readonly Outcome[],
  timing: Timing,
  nextAt: number | undefined,
  parts: Pick<AttemptParts, "world" | "emit">,
): void {
  const now = parts.world.clock.now();
  const { envelope, id } = message;
  const byIndex = new Map(outcomes.map((outcome) => [outcome.recipient, outcome]));
  const addresses = new Map(envelope.recipients.map(({ index, address }) => [index, address]));
  const queuedMs = Math.max(0, timing.takenAt - envelope.receivedAt);
  const waitedMs = Math.max(0, timing.startedAt - timing.takenAt);
  for (const change of verdict.changes) {
    const recipient = addresses.get(change.index);
    const outcome = byIndex.get(change.index);
    if (recipient === undefined || change.reply === undefined) continue;
    parts.emit({
      kind: "delivery",
      id,
      recipient,
      domain: domainOf(recipient),
      destination: timing.destination,
      status: STATUS[change.status],
      reply: change.reply,
      attempt: message.attempts + 1,
      delayMs: now - envelope.receivedAt,
      delaysMs: [queuedMs, waitedMs, outcome?.setupMs ?? 0, outcome?.transferMs ?? 0],
      ...peerOf(outcome),
      ...(nextAt === undefined ? {} : { nextAt }),
    });
  }
}

function peerOf(
  outcome: Outcome | undefined,
): Pick<DeliveryEvent, "relay" | "connectionUse" | "command" | "tls"> {
  const { remote, command } = outcome ?? {};
  return {
    relay: remote ? remoteName(remote) : "none",
    connectionUse: remote?.connectionUse ?? 0,
    ...(command === undefined ? {} : { command }),
    ...(remote?.tls === undefined ? {} : { tls: remote.tls }),
  };
}
