import { derivedId, idMaker } from "../lib/id.ts";
import type { World } from "../lib/world.ts";
import { domainOf } from "../mail/address.ts";
import { contentSize } from "../mail/content.ts";
import type { Envelope } from "../mail/envelope.ts";
import { headerOf } from "../mail/header.ts";
import { QueueError } from "../mail/queue-error.ts";
import { reply } from "../mail/reply.ts";
import type { Emit } from "../observe/events.ts";
import { type Policy, runPolicies } from "../policy/policy.ts";
import type { Relay } from "../relay/relay.ts";
import type { Lease, QueueStorage, Settlement } from "../storage/storage.ts";
import type { Lifetimes } from "./attempt.ts";
import type { QueueControl } from "./control.ts";
import type { NoticeOptions, Notification } from "./notices.ts";
import { operatorControl } from "./operator.ts";
import { Runner, type RunnerOptions } from "./runner.ts";

export interface QueueOptions extends RunnerOptions {
  readonly hostname: string;
  readonly policies: readonly Policy[];
  readonly lifetimes: Lifetimes;
  readonly notices: NoticeOptions;
}

export interface QueueParts {
  readonly storage: QueueStorage;
  /** Without one the queue keeps mail and never attempts it. */
  readonly relay?: Relay;
  readonly world: World;
  readonly emit: Emit;
  /** The parent's `bounce_queue`: where notifications go; this queue itself without it. */
  readonly bounceQueue?: Pick<Queue, "enqueue">;
}

/** The parent's `Queue`: accepts, keeps, relays, retries and bounces. */
export interface Queue {
  /**
   * Runs the policies and stores what they make, all or nothing (P2); resolves with the ids when it is durable (P1).
   * Never waits for relay capacity. Rejects with `QueueError` when nothing was stored. A caller that gives the id may
   * call again after a crash: what is stored already is not stored twice.
   */
  enqueue(envelope: Envelope, id?: string): Promise<readonly string[]>;
  /** Policies added later run later. The parent's `add_policy`. */
  addPolicy(policy: Policy): void;
  /** Starts delivering. Without it, or without a relay, mail is accepted and kept. */
  start(): void;
  /** Tries everything that waits now; returns how many messages that are. Constant time. The parent's `flush`. */
  flush(): Promise<number>;
  /**
   * Starts nothing more and resolves when what runs is settled; `abort` breaks off what still runs (P10). The parent's
   * `kill`, which did neither. The storage stays open.
   */
  drain(abort: AbortSignal): Promise<void>;
  readonly control: QueueControl;
}

export function openQueue(options: QueueOptions, parts: QueueParts): Queue {
  const { storage, relay, world, emit } = parts;
  const newId = idMaker(world.clock.now, world.random);
  const holder = newId();
  const policies = [...options.policies];
  const front = frontOf(options.hostname, policies, world);

  /** P4: in this storage the notifications and the settlement are one step; another queue has them before. */
  async function settle(
    id: string,
    settlement: Settlement,
    notifications: readonly Notification[],
    asHolder: { readonly holder?: string },
  ): Promise<void> {
    const { bounceQueue } = parts;
    if (bounceQueue) await hand(notifications, bounceQueue);
    const own = bounceQueue ? [] : notifications;
    const bounces = own.flatMap(({ envelope, id: first }) => front(envelope, first, () => first));
    await storage.settle(id, settlement, { ...asHolder, bounces });
    for (const bounce of bounces) tellAccepted([bounce], 0, emit);
    const dueAt = bounces.length > 0 ? world.clock.now() : settlement.due;
    if (dueAt !== undefined) runner?.noteDue(dueAt);
  }

  const common = { ...options, storage, world, emit };
  const runner =
    relay &&
    new Runner(
      {
        ...common,
        relay,
        holder,
        settle: (id, change, notices) => settle(id, change, notices, { holder }),
      },
      options,
    );
  const control = operatorControl({
    ...common,
    relay,
    runner,
    settle: (id, change, notices) => settle(id, change, notices, {}),
  });

  return {
    async enqueue(envelope, givenId) {
      requireRecipients(envelope);
      const first = givenId ?? newId();
      const made = front(envelope, first, givenId === undefined ? newId : () => first);
      // An id that was given may be stored and under way already: it is not for this call to lease it.
      const mine = givenId === undefined ? runner : undefined;
      await store(made, { storage, runner: mine, holder, now: world.clock.now() });
      if (mine === undefined) runner?.noteDue(world.clock.now());
      tellAccepted(made, world.clock.now() - envelope.receivedAt, emit);
      return made.map(({ id }) => id);
    },
    addPolicy: (policy) => void policies.push(policy),
    start: () => runner?.start(),
    flush: () => control.flush(),
    drain: async (abort) => await runner?.drain(abort),
    control,
  };
}

async function hand(
  notifications: readonly Notification[],
  queue: Pick<Queue, "enqueue">,
): Promise<void> {
  for (const { envelope, id } of notifications) await queue.enqueue(envelope, id);
}

interface Made {
  readonly id: string;
  readonly envelope: Envelope;
}

/**
 * The front door's first half: policies, and an id for each envelope that they make. The first has the transaction's
 * own; `nextId` gives the others theirs, or says the same again for a transaction whose ids must be the same each time.
 */
function frontOf(hostname: string, policies: readonly Policy[], world: World) {
  return (envelope: Envelope, id: string, nextId: () => string): readonly Made[] => {
    const context = { id, now: world.clock.now(), hostname };
    return runPolicies(policies, envelope, context).map((part, index) => {
      const next = index === 0 ? id : nextId();
      return {
        id: next === id && index > 0 ? derivedId(id, [id, String(index)]) : next,
        envelope: part,
      };
    });
  };
}

/** One durable write of everything (P2). What the runner has room for is leased to it in the same step. */
async function store(
  made: readonly Made[],
  to: {
    readonly storage: QueueStorage;
    readonly runner: Runner | undefined;
    readonly holder: string;
    readonly now: number;
  },
): Promise<void> {
  const { storage, runner, holder, now } = to;
  const envelopes = made.map(({ envelope }) => envelope);
  const ids = made.map(({ id }) => id);
  const domains = envelopes.map(({ recipients }) => domainOf(recipients[0]?.address ?? ""));
  if (!runner?.reserve(domains)) {
    await storage.write(envelopes, now, { ids });
    runner?.noteDue(now);
    return;
  }
  let leases: readonly Lease[] = [];
  try {
    await storage.write(envelopes, now, { ids, lease: { holder, until: runner.leaseUntil() } });
    leases = domains.map((domain, index) => ({ id: ids[index] ?? "", domain, due: now }));
  } finally {
    runner.offer(domains.length, leases);
  }
}

function requireRecipients({ recipients }: Envelope): void {
  if (recipients.length > 0) return;
  throw new QueueError("an envelope needs a recipient", {
    reply: reply(554, "5.5.1", "No valid recipients"),
  });
}

function tellAccepted(made: readonly Made[], durationMs: number, emit: Emit): void {
  const firstId = made[0]?.id ?? "";
  for (const { id, envelope } of made) {
    emit({
      kind: "accepted",
      id,
      ...(id === firstId ? {} : { firstId }),
      client: envelope.client,
      messageId: headerOf(envelope.content).messageId ?? "",
      sender: envelope.sender,
      size: contentSize(envelope.content),
      recipientCount: envelope.recipients.length,
      durationMs,
    });
  }
}
