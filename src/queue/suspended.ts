import { reply } from "../mail/reply.ts";
import { limitOf } from "../schedule/throttle.ts";
import type { Lease } from "../storage/storage.ts";
import type { Lane } from "./agenda.ts";
import { type AttemptParts, settleOutcomes } from "./attempt.ts";
import type { Custody } from "./custody.ts";
import { isFinal } from "./persistence.ts";

/** A message that is due for so long while its destination is suspended counts as tried. */
export const OVERDUE_MS = 30 * 60_000;
/** In one go: a pile of a million must not keep the event loop. */
const BATCH = 200;

export interface SuspendedView {
  readonly now: number;
  /** The latest flush: what it made due has its time counted from there. */
  readonly flushedAt: number;
  readonly custody: Custody;
  /** What is known of the destination of a domain. */
  readonly lane: (domain: string) => Lane | undefined;
}

/**
 * While a destination is suspended its mail simply stays due. For a long suspension that is not enough: nobody would be told
 * of the delay, and nothing would ever expire. What is overdue is therefore deferred with the destination's last failure,
 * as Postfix does, without asking the next hop. Resolves with how many messages were.
 */
export async function deferSuspended(parts: AttemptParts, view: SuspendedView): Promise<number> {
  const { now, custody } = view;
  const isSuspended = (domain: string): boolean => {
    const lane = view.lane(domain);
    return lane !== undefined && limitOf(lane.throttle, now) === 0;
  };
  const leases = await parts.storage.lease(now - OVERDUE_MS, BATCH, {
    holder: parts.holder,
    until: custody.leaseUntil(),
    skip: (domain) => !isSuspended(domain),
    timelyOnly: now - view.flushedAt < OVERDUE_MS,
  });
  const taken = leases.filter(({ id }) => custody.take(id));
  await Promise.all(taken.map(async (lease) => await deferOne(lease, parts, view)));
  return taken.length;
}

async function deferOne(
  { id, domain }: Lease,
  parts: AttemptParts,
  { now, custody, lane }: SuspendedView,
): Promise<void> {
  custody.begin(id);
  const known = lane(domain);
  const destination = known?.destination ?? domain;
  const text = `delivery temporarily suspended: ${known?.throttle.lastFailure ?? destination}`;
  try {
    const message = await parts.storage.get(id);
    const outcomes = message.envelope.recipients.map(({ index }) => ({
      recipient: index,
      kind: "deferred" as const,
      reply: reply(451, "4.4.1", text),
      setupMs: 0,
      transferMs: 0,
    }));
    await settleOutcomes(
      message,
      outcomes,
      { id, destination, takenAt: now, startedAt: now },
      parts,
    );
    custody.end(id);
  } catch (error) {
    if (isFinal(error)) return custody.end(id);
    await custody.giveBack([id]);
    throw error;
  }
}
