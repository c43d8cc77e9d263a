import type { World } from "../lib/world.ts";
import { domainOf } from "../mail/address.ts";
import { contentSize } from "../mail/content.ts";
import { QueueError } from "../mail/queue-error.ts";
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
import type {
  DestinationStatus,
  MessageDetail,
  QueueControl,
  QueueStatus,
  Selector,
  Verb,
} from "./control.ts";
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

/** What operators may see and do, over storage and runner. */
export function operatorControl(parts: OperatorParts): QueueControl {
  const { storage, runner, emit, world } = parts;
  const verbs: Record<Verb, (id: string) => Promise<boolean>> = {
    retry: async (id) => {
      const message = await storage.get(id);
      if (message.state === "hold") return false;
      await storage.setTimestamp(id, world.clock.now());
      runner?.resume(domainOfMessage(message));
      return true;
    },
    hold: (id) => storage.setHeld(id, true),
    release: async (id) => {
      const changed = await storage.setHeld(id, false);
      runner?.noteDue(world.clock.now());
      return changed;
    },
    remove: async (id) => {
      await storage.get(id).catch(ignoreCorrupt);
      await storage.remove(id);
      emit({ kind: "removed", id });
      return true;
    },
    bounce: (id) => bounce(id, parts),
  };

  async function one(verb: Verb, id: string): Promise<boolean> {
    const found = await known(() => verbs[verb](id));
    if (found === undefined) return false;
    emit({ kind: "operator", action: verb, subject: id, count: 1 });
    // Holding what is held already is what was asked for.
    return true;
  }

  async function each(verb: Verb, selector: Selector): Promise<number> {
    let count = 0;
    for await (const { id } of selected(storage, selector)) {
      if (await known(() => verbs[verb](id))) count += 1;
    }
    emit({ kind: "operator", action: verb, subject: describe(selector), count });
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
      if (Object.keys(selector).length > 0) return await each("retry", selector);
      const count = await storage.flush();
      runner?.flushed();
      emit({ kind: "operator", action: "flush", subject: describe(selector), count });
      return count;
    },
  };
}

/** Ends a message as if its lifetime were over. */
async function bounce(id: string, parts: OperatorParts): Promise<boolean> {
  const message = await parts.storage.get(id);
  if (message.state === "active") {
    throw new QueueError(`message ${id} is being delivered at this moment; try again`);
  }
  const now = parts.world.clock.now();
  const last = new Map(message.recipients.map((change) => [change.index, change.reply]));
  const outcomes = message.envelope.recipients.map(({ index }) => ({
    recipient: index,
    kind: "deferred" as const,
    reply: last.get(index) ?? reply(450, "4.4.7", "returned to its sender by the operator"),
    setupMs: 0,
    transferMs: 0,
  }));
  const timing = { id, destination: "", takenAt: now, startedAt: now };
  const { attempts } = message;
  await conclude({ message, outcomes, timing, attempts, delayMs: null, expired: true }, parts);
  return true;
}

/** Messages that a selector names, page by page, those that come or go meanwhile aside. */
async function* selected(
  storage: QueueStorage,
  selector: Selector,
): AsyncGenerator<MessageSummary> {
  let after: string | undefined;
  while (true) {
    const from = after === undefined ? {} : { after };
    const page = await storage.list({ ...selector, ...from, limit: PAGE });
    yield* page;
    after = page.at(-1)?.id;
    if (after === undefined) return;
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
    domain: domainOfMessage(message),
    recipientCount,
    envelope,
    delayNotified,
    recipients,
    expiresAt: expiryOf(envelope, parts.lifetimes),
  };
}

async function statusOf({ storage, runner, relay, world }: OperatorParts): Promise<QueueStatus> {
  const now = world.clock.now();
  return {
    ...(await storage.getInfo()),
    delivering: runner?.delivering ?? 0,
    waiting: runner?.waiting ?? 0,
    nextDue: await storage.nextDue(),
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
    .map(({ destination, delivering, waiting, throttle }) => ({
      destination,
      delivering,
      waiting: waiting.length,
      limit: limitOf(throttle, now),
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

function domainOfMessage({ envelope }: StoredMessage): string {
  return domainOf(envelope.recipients[0]?.address ?? "");
}

async function known<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NotFoundError || error instanceof CorruptError) return undefined;
    throw error;
  }
}

function ignoreCorrupt(error: unknown): void {
  if (!(error instanceof CorruptError)) throw error;
}
