import type { World } from "../lib/world.ts";
import { contentSize } from "../mail/content.ts";
import { reply } from "../mail/reply.ts";
import type { Emit } from "../observe/events.ts";
import type { Relay } from "../relay/relay.ts";
import { limitOf } from "../schedule/throttle.ts";
import {
  CorruptError,
  type MessageSummary,
  NotFoundError,
  type QueueStorage,
  type StoredMessage,
} from "../storage/storage.ts";
import type { Lane } from "./agenda.ts";
import { type AttemptParts, conclude, expiryOf, type Lifetimes } from "./attempt.ts";
import {
  BusyError,
  type DestinationStatus,
  type MessageDetail,
  type QueueControl,
  type QueueStatus,
  type Selector,
  type Verb,
} from "./control.ts";
import { firstDomain } from "./front.ts";
import type { NoticeOptions } from "./notices.ts";
import type { Runner } from "./runner.ts";

/** How many destinations a status names. */
export const DESTINATIONS_MAX = 20;
const PAGE = 500;

export interface OperatorParts {
  readonly storage: QueueStorage;
  readonly runner: Runner | undefined;
  readonly relay: Relay | undefined;
  readonly world: World;
  readonly emit: Emit;
  readonly lifetimes: Lifetimes;
  readonly notices: NoticeOptions;
  /** Settles without a lease. */
  readonly settle: AttemptParts["settle"];
}

/** What a verb has to know of the message that it is applied to. */
type Target = Pick<MessageSummary, "id" | "state" | "domain">;

/** Resolves with whether anything has changed. */
type Act = (target: Target, parts: OperatorParts) => Promise<boolean>;

const ACTS: Readonly<Record<Verb, Act>> = {
  async retry({ id, state, domain }, { storage, runner, world }) {
    if (state === "hold") return false;
    await storage.setTimestamp(id, world.clock.now());
    runner?.resume(domain);
    return true;
  },
  hold: ({ id }, { storage }) => storage.setHeld(id, true),
  async release({ id }, { storage, runner }) {
    const isChanged = await storage.setHeld(id, false);
    if (isChanged) runner?.look();
    return isChanged;
  },
  async remove({ id }, { storage, emit }) {
    await storage.remove(id);
    emit({ kind: "removed", id });
    return true;
  },
  bounce,
};

/** What operators may see and do, over storage and runner. */
export function operatorControl(parts: OperatorParts): QueueControl {
  const { storage, runner, emit } = parts;

  async function one(verb: Verb, id: string): Promise<boolean> {
    const isChanged = await known(async () => {
      const target = await targetOf(id, verb, storage);
      return await ACTS[verb](target, parts);
    });
    if (isChanged === undefined) return false;
    emit({ kind: "operator", action: verb, subject: id, count: isChanged ? 1 : 0 });
    // What is so already is what was asked for.
    return true;
  }

  /** False for what came to another end meanwhile, or cannot be had at this moment: the others have their turn. */
  async function ofMany(verb: Verb, target: Target): Promise<boolean> {
    try {
      return (await known(() => ACTS[verb](target, parts))) ?? false;
    } catch (error) {
      if (error instanceof BusyError) return false;
      throw error;
    }
  }

  async function each(verb: Verb, selector: Selector): Promise<number> {
    let count = 0;
    try {
      for await (const page of pagesOf(storage, selector)) {
        // Together, since storage makes durable together what comes together.
        const ends = await Promise.allSettled(page.map((target) => ofMany(verb, target)));
        count += ends.filter((end) => end.status === "fulfilled" && end.value).length;
        const failed = ends.find((end) => end.status === "rejected");
        if (failed) throw failed.reason;
      }
    } finally {
      emit({ kind: "operator", action: verb, subject: describe(selector), count });
    }
    return count;
  }

  return {
    status: () => statusOf(parts),
    list: (query) => storage.list(query),
    show: (id) => known(() => detailOf(id, parts)),
    retry: (id) => one("retry", id),
    hold: (id) => one("hold", id),
    release: (id) => one("release", id),
    remove: (id) => one("remove", id),
    bounce: (id) => one("bounce", id),
    each,
    async flush(selector = {}) {
      if (Object.values(selector).some((part) => part !== undefined)) {
        return await each("retry", selector);
      }
      const count = await storage.flush();
      runner?.flushed();
      emit({ kind: "operator", action: "flush", subject: describe(selector), count });
      return count;
    },
  };
}

/** Also a message that cannot be read can be held, released and removed. */
async function targetOf(id: string, verb: Verb, storage: QueueStorage): Promise<Target> {
  try {
    const message = await storage.get(id);
    return { id, state: message.state, domain: firstDomain(message.envelope) };
  } catch (error) {
    const isNeeded = verb === "retry" || verb === "bounce";
    if (isNeeded || error instanceof NotFoundError) throw error;
    return { id, state: "deferred", domain: "" };
  }
}

/**
 * Ends a message as if its lifetime were over. Nobody may deliver it meanwhile, so that it comes to one end only (P5): it
 * is put on hold first, and left alone when a delivery was faster.
 */
async function bounce({ id, state }: Target, parts: OperatorParts): Promise<boolean> {
  const { storage, runner } = parts;
  // What this process has leased but not begun is not begun any more once it is on hold.
  if (state === "active" && !runner?.has(id)) throw busy(id);
  if (runner?.isDelivering(id)) throw busy(id);
  const isHeldHere = await storage.setHeld(id, true);
  try {
    if (runner?.isDelivering(id)) throw busy(id);
    await endAsExpired(await storage.get(id), parts);
  } catch (error) {
    if (isHeldHere && !(await letGo(id, storage))) runner?.look();
    throw error;
  }
  return true;
}

/** Takes back a hold that is not the operator's. True when the message is gone. */
async function letGo(id: string, storage: QueueStorage): Promise<boolean> {
  return await storage.setHeld(id, false).then(
    () => false,
    () => true,
  );
}

function busy(id: string): BusyError {
  return new BusyError(`message ${id} is being delivered at this moment; try again`);
}

async function endAsExpired(message: StoredMessage, parts: OperatorParts): Promise<void> {
  const now = parts.world.clock.now();
  const { id, attempts } = message;
  const last = new Map(message.recipients.map((change) => [change.index, change.reply]));
  const outcomes = message.envelope.recipients.map(({ index }) => ({
    recipient: index,
    kind: "deferred" as const,
    reply: last.get(index) ?? reply(450, "4.4.7", "returned to its sender by the operator"),
    setupMs: 0,
    transferMs: 0,
  }));
  const timing = { id, destination: "", takenAt: now, startedAt: now };
  await conclude({ message, outcomes, timing, attempts, delayMs: null, expired: true }, parts);
}

/**
 * Pages of messages that a selector names, those that come or go meanwhile aside. What is on its way to another store is
 * left out: only who names such a message takes it out of the hands of the move.
 */
async function* pagesOf(
  storage: QueueStorage,
  selector: Selector,
): AsyncGenerator<readonly MessageSummary[]> {
  let after: string | undefined;
  while (true) {
    const from = after === undefined ? {} : { after };
    const page = await storage.list({ ...selector, ...from, limit: PAGE });
    after = page.at(-1)?.id;
    if (after === undefined) return;
    yield page.filter(({ moving }) => moving === undefined);
  }
}

async function detailOf(id: string, parts: OperatorParts): Promise<MessageDetail> {
  const message = await parts.storage.get(id);
  const { envelope, state, attempts, due, delayNotified, recipients, recipientCount } = message;
  return {
    id,
    state,
    sender: envelope.sender,
    size: contentSize(envelope.content),
    receivedAt: envelope.receivedAt,
    due,
    attempts,
    domain: firstDomain(message.envelope),
    recipientCount,
    envelope,
    delayNotified,
    original: message.original,
    recipients,
    ...(message.lease && { lease: message.lease }),
    ...(message.moving && { moving: message.moving }),
    expiresAt: expiryOf(envelope, parts.lifetimes),
  };
}

async function statusOf({ storage, runner, relay, world }: OperatorParts): Promise<QueueStatus> {
  const now = world.clock.now();
  const dueAt = await storage.nextDue();
  return {
    ...(await storage.getInfo()),
    delivering: runner?.delivering ?? 0,
    waiting: runner?.waiting ?? 0,
    // What is overdue, or was flushed, is due now.
    nextDue: dueAt === null ? null : Math.max(dueAt, now),
    connections: relay?.stats() ?? { open: 0, idle: 0 },
    destinations: busiest([...(runner?.lanes() ?? [])], now),
    refusal: storage.refusal(),
  };
}

function busiest(lanes: readonly Lane[], now: number): readonly DestinationStatus[] {
  const rank = ({ delivering, waiting, throttle }: Lane): number =>
    delivering + waiting.length + (throttle.suspendedUntil === null ? 0 : 1_000_000);
  return lanes
    .filter((lane) => rank(lane) > 0 || lane.throttle.lastFailure !== null)
    .sort((left, right) => rank(right) - rank(left))
    .slice(0, DESTINATIONS_MAX)
    .map(({ destination, delivering, waiting, throttle, places }) => ({
      destination,
      delivering,
      waiting: waiting.length,
      limit: limitOf(throttle, now),
      ...(places < Number.POSITIVE_INFINITY && { places }),
      suspendedUntil: throttle.suspendedUntil,
      lastFailure: throttle.lastFailure,
    }));
}

function describe({ state, domain, sender }: Selector): string {
  const parts = [
    state && `state=${state}`,
    domain && `domain=${domain}`,
    sender !== undefined && `sender=<${sender}>`,
  ].filter((part) => typeof part === "string");
  return parts.length === 0 ? "all" : parts.join(" ");
}

async function known<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NotFoundError || error instanceof CorruptError) return undefined;
    throw error;
  }
}
