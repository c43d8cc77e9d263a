import { domainOf } from "../mail/address.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import type { Policy } from "./policy.ts";

/** One envelope for each recipient, in their order: the parent's `RecipientSplit`. The body is shared. */
export const recipientSplit: Policy = (envelope) =>
  split(
    envelope,
    envelope.recipients.map((recipient) => [recipient]),
  );

/**
 * One envelope for each domain, domains and recipients in the order in which they came: the parent's
 * `RecipientDomainSplit`. Letter case does not tell domains apart; addresses without a domain go together.
 */
export const recipientDomainSplit: Policy = (envelope) => {
  // Most messages have one recipient, and nothing to group.
  if (envelope.recipients.length === 1) return null;
  const groups = Map.groupBy(envelope.recipients, ({ address }) => domainOf(address));
  return split(envelope, [...groups.values()]);
};

function split(
  envelope: Envelope,
  groups: readonly (readonly Recipient[])[],
): readonly Envelope[] | null {
  if (groups.length <= 1) return null;
  return groups.map((group) => ({
    ...envelope,
    // An index names a recipient of the envelope that is stored, and these are the ones that will be.
    recipients: group.map((recipient, index) => ({ ...recipient, index })),
  }));
}
