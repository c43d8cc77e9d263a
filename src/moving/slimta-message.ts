import type { Envelope } from "../mail/envelope.ts";
import { type Imported, importedId } from "./imported.ts";
import type { SlimtaMeta } from "./slimta-envelope.ts";

/** More than any engine of the parent has ever counted. */
const ATTEMPTS_MAX = 1_000_000;

/** A message of the parent as it goes into a store; `undefined` when every recipient has it. */
export function slimtaMessage(
  name: string,
  envelope: Envelope,
  meta: SlimtaMeta,
): Imported["freight"] | undefined {
  const { length } = envelope.recipients;
  const delivered = [...new Set(meta.delivered)].filter((index) => {
    return Number.isInteger(index) && index >= 0 && index < length;
  });
  if (delivered.length === length) return undefined;
  const recipients = delivered.map((index) => ({ index, status: "delivered" as const }));
  const attempts = Math.min(Math.max(0, Math.round(meta.attempts)), ATTEMPTS_MAX);
  // Only edges of the parent note it; what a program put there itself would be too old at once.
  const receivedAt = envelope.receivedAt === 0 ? meta.due : envelope.receivedAt;
  return {
    id: importedId(envelope.receivedAt, ["slimta", name]),
    envelope: { ...envelope, receivedAt },
    known: { attempts, due: meta.due, recipients },
    held: false,
  };
}
