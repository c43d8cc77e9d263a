import type { Envelope } from "../mail/envelope.ts";
import { type Imported, importedId } from "./imported.ts";
import type { SlimtaMeta } from "./slimta-envelope.ts";

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
  const attempts = Math.max(0, Math.round(meta.attempts));
  return {
    id: importedId(envelope.receivedAt, ["slimta", name]),
    envelope,
    known: { attempts, due: Math.max(0, meta.due), recipients },
    held: false,
  };
}
