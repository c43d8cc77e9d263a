import { reply } from "../mail/reply.ts";
import { limitOf } from "../schedule/throttle.ts";
import type { Lane } from "./agenda.ts";
import { type AttemptParts, settleOutcomes } from "./attempt.ts";

/** A message that is due for so long while its destination is suspended counts as tried. */
const OVERDUE_MS = 30 * 60_000;
/** In one go: a pile of a million must not keep the event loop. */
const BATCH = 100;

export interface SuspendedView {
  readonly now: number;
  /** Until when the leases that are taken last. */
  readonly until: number;
  /** The latest flush: what it made due has its time counted from there. */
  readonly flushedAt: number;
  readonly lane: (domain: string) => Lane;
}

/**
 * While a destination is suspended its mail simply stays due. For a long suspension that is not enough: nobody would be told
 * of the delay, and nothing would ever expire. What is overdue is therefore deferred with the destination's last failure,
 * as Postfix does, without asking the next hop.
 */
export async function deferSuspended(parts: AttemptParts, view: SuspendedView): Promise<void> {
  const { storage, holder } = parts;
  const { now, until } = view;
  const leases = await storage.lease(now - OVERDUE_MS, BATCH, {
    holder,
    until,
    skip: (domain) => limitOf(view.lane(domain).throttle, now) > 0,
    timelyOnly: now - view.flushedAt < OVERDUE_MS,
  });
  await Promise.all(
    leases.map(async ({ id, domain }) => {
      const { destination, throttle } = view.lane(domain);
      const text = `delivery temporarily suspended: ${throttle.lastFailure ?? destination}`;
      const message = await storage.get(id);
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
    }),
  );
}
