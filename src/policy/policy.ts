import type { Envelope } from "../mail/envelope.ts";

/**
 * Looks at one envelope before it is stored, the parent's `QueuePolicy`: `null` or nothing keeps it, one or more
 * envelopes take its place. Envelopes and their content are immutable and shared: a policy makes new ones around the
 * same body. Throws `QueueError` to refuse the whole transaction.
 */
export type Policy = (envelope: Envelope, context: PolicyContext) => readonly Envelope[] | null;

/** Whatever a policy could otherwise only learn by asking clocks and dice. The same for all parts of a transaction. */
export interface PolicyContext {
  /** The transaction's id, made before policies run: in `Received`, and unique enough for a `Message-ID`. */
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** This host's name, for names that must be unique in the world. */
  readonly hostname: string;
}

/**
 * Runs policies over an envelope, depth first, as the parent does: what policy `i` makes goes to the end of the list in
 * place of what it was made from, and each of those goes on with policy `i + 1`. Never empty.
 */
export function runPolicies(
  policies: readonly Policy[],
  envelope: Envelope,
  context: PolicyContext,
): readonly Envelope[] {
  const results = [envelope];
  const goOn = (current: Envelope, index: number): void => {
    const policy = policies[index];
    if (!policy) return;
    const made = policy(current, context) ?? [];
    if (made.length > 0) {
      results.splice(results.indexOf(current), 1);
      results.push(...made);
    }
    for (const each of made.length > 0 ? made : [current]) goOn(each, index + 1);
  };
  goOn(envelope, 0);
  return results;
}
