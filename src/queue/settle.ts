import type { BounceFactory } from "../bounce/notice.ts";
import { buildNotification } from "../bounce/notification.ts";
import type { Clock } from "../lib/world.ts";
import type { Emit } from "../observe/events.ts";
import { exponentialBackoff } from "../schedule/backoff.ts";
import type { QueueStorage, Settlement, StoredMessage } from "../storage/storage.ts";
import { type Front, firstDomain, type Made, tellAccepted } from "./front.ts";
import type { Notification } from "./notices.ts";
import { PAUSE_MS } from "./persistence.ts";
import type { Queue } from "./queue.ts";

export interface SettleParts {
  readonly storage: QueueStorage;
  readonly clock: Clock;
  readonly emit: Emit;
  readonly front: Front;
  /** Where notifications go; this storage without it. */
  readonly bounceQueue: Pick<Queue, "enqueue"> | undefined;
  /** Told of all that becomes due. */
  readonly noteDue: (at: number, domain: string) => void;
}

/** Stores a settlement and the notifications that it makes due; idempotent. As the holder of the lease, or as operator. */
export type Settle = (
  message: StoredMessage,
  settlement: Settlement,
  notifications: readonly Notification[],
  as: { readonly holder?: string },
) => Promise<void>;

/** P4: in the same storage notifications and settlement are one step; another queue has the notifications before. */
export function settler(parts: SettleParts): Settle {
  const { storage, clock, emit, bounceQueue, noteDue } = parts;
  const handOver = bounceQueue && handsOver(bounceQueue, clock);
  return async (message, settlement, notifications, as) => {
    for (const notification of notifications) await handOver?.(notification);
    const bounces = bounceQueue ? [] : notifications.flatMap((each) => admit(each, parts));
    try {
      await storage.settle(message.id, settlement, { ...as, bounces });
      for (const bounce of bounces) tellAccepted([bounce], 0, emit);
    } finally {
      // Also when it fails: it may have been done, and only the answer lost.
      for (const { envelope } of bounces) noteDue(clock.now(), firstDomain(envelope));
      if (settlement.due !== undefined) noteDue(settlement.due, firstDomain(message.envelope));
    }
  };
}

/** When a queue that has refused a notification is asked to take it again: soon, and if that is of no use, now and then. */
const askAgain = exponentialBackoff({
  firstMs: PAUSE_MS,
  factor: 2,
  maxMs: 10 * 60_000,
  retriesMax: Number.POSITIVE_INFINITY,
  lifetimeMs: Number.POSITIVE_INFINITY,
  jitter: 0,
});

/** What another queue said to a notification. */
type Handed =
  | "taken"
  | { readonly times: number; readonly againAt: number; readonly error: unknown };

/**
 * Gives each notification to another queue once: the settlement behind it may have to be tried again and again, and by then
 * the first one can be delivered and forgotten there. One that is refused stays refused until it is time to ask again.
 */
function handsOver(
  queue: Pick<Queue, "enqueue">,
  clock: Clock,
): (notification: Notification) => Promise<void> {
  const handed = new WeakMap<Notification, Handed>();
  return async (notification) => {
    const before = handed.get(notification);
    if (before === "taken") return;
    if (before !== undefined && clock.now() < before.againAt) throw before.error;
    try {
      await queue.enqueue(notification.envelope, notification.id);
      handed.set(notification, "taken");
    } catch (error) {
      const times = (before?.times ?? 0) + 1;
      const againAt = clock.now() + (askAgain(times, 0, 0) ?? 0);
      handed.set(notification, { times, againAt, error });
      throw error;
    }
  };
}

/** A notification goes through the front door too, but nothing turns it away there: it would be lost (P4). */
function admit({ envelope, id }: Notification, { front, emit }: SettleParts): readonly Made[] {
  try {
    return front(envelope, id, () => id);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const text = `notification ${id} is stored although a policy refuses it: ${reason}`;
    emit({ kind: "lifecycle", what: "warning", text });
    return [{ id, envelope }];
  }
}

/** A factory that fails would lose the notification or stop the settlement: the stock one stands in for it. */
export function faultless(factory: BounceFactory, emit: Emit): BounceFactory {
  return (notice) => {
    try {
      return factory(notice);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const text = `the bounce factory failed with ${notice.originalId}: ${reason}`;
      emit({ kind: "lifecycle", what: "error", text });
      return buildNotification(notice);
    }
  };
}
