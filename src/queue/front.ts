import { derivedId } from "../lib/id.ts";
import type { World } from "../lib/world.ts";
import { domainOf } from "../mail/address.ts";
import { contentSize } from "../mail/content.ts";
import type { Envelope } from "../mail/envelope.ts";
import { headerOf } from "../mail/header.ts";
import { QueueError } from "../mail/queue-error.ts";
import { reply } from "../mail/reply.ts";
import type { Emit } from "../observe/events.ts";
import { type Policy, runPolicies } from "../policy/policy.ts";
import type { QueueStorage } from "../storage/storage.ts";
import type { Runner } from "./runner.ts";

/** An envelope as it is to be stored. */
export interface Made {
  readonly id: string;
  readonly envelope: Envelope;
}

/** Makes what is to be stored out of an envelope. */
export type Front = (envelope: Envelope, id: string, nextId: () => string) => readonly Made[];

/**
 * The front door's first half: policies, and an id for each envelope that they make. The first has the transaction's
 * own; `nextId` gives the others theirs, or says the same again for a transaction whose ids must be the same each time.
 */
export function frontOf(hostname: string, policies: readonly Policy[], world: World): Front {
  return (envelope, id, nextId) => {
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

export interface StoreParts {
  readonly storage: QueueStorage;
  readonly runner: Runner | undefined;
  readonly holder: string;
  readonly now: number;
  /** The ids were made for these messages. */
  readonly fresh: boolean;
}

/** One durable write of everything (P2). What the runner has room for is leased to it in the same step. */
export async function storeAndOffer(
  made: readonly Made[],
  to: StoreParts,
  tell: () => void,
): Promise<void> {
  const { storage, runner, holder, now, fresh } = to;
  const domains = made.map(({ envelope }) => firstDomain(envelope));
  if (!runner?.reserve(domains)) return await store(made, to, tell);
  const lease = { holder, until: runner.leaseUntil() };
  try {
    await storage.write(envelopesOf(made), now, { ids: idsOf(made), fresh, lease });
  } catch (error) {
    runner.unreserve(domains);
    runner.noteLost();
    throw error;
  }
  tell();
  runner.offer(
    made.map(({ id }, index) => ({ id, domain: domains[index] ?? "", due: now })),
    lease.until,
  );
}

/** The same, for its turn later. */
export async function store(
  made: readonly Made[],
  { storage, runner, now, fresh }: StoreParts,
  tell: () => void,
): Promise<void> {
  try {
    await storage.write(envelopesOf(made), now, { ids: idsOf(made), fresh });
  } catch (error) {
    runner?.noteLost();
    throw error;
  }
  tell();
  for (const { envelope } of made) runner?.noteDue(now, firstDomain(envelope));
}

function envelopesOf(made: readonly Made[]): readonly Envelope[] {
  return made.map(({ envelope }) => envelope);
}

function idsOf(made: readonly Made[]): readonly string[] {
  return made.map(({ id }) => id);
}

/** What a message's destination follows from. */
export function firstDomain({ recipients }: Envelope): string {
  return domainOf(recipients[0]?.address ?? "");
}

export function requireRecipients({ recipients }: Envelope): void {
  if (recipients.length > 0) return;
  throw new QueueError("an envelope needs a recipient", {
    reply: reply(554, "5.5.1", "No valid recipients"),
  });
}

export function tellAccepted(made: readonly Made[], durationMs: number, emit: Emit): void {
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
