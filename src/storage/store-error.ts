import { codeOf } from "../lib/error-code.ts";
import { QueueError } from "../mail/queue-error.ts";
import { reply } from "../mail/reply.ts";

/** A record that cannot be read because its bytes are wrong or gone: reading it again would not help. */
export class DamagedError extends Error {
  override readonly name = "DamagedError";
}

/** What clients hear of a store that cannot take mail: always temporary (P7), and nothing of its insides. */
export function storeError(what: string, cause: unknown): QueueError {
  if (cause instanceof QueueError) return cause;
  const code = codeOf(cause);
  const isFull = code === "ENOSPC" || code === "EDQUOT" || code === "SQLITE_FULL";
  const answer = isFull
    ? reply(452, "4.3.1", "Insufficient system storage")
    : reply(451, "4.3.0", "Queue file write error");
  return new QueueError(`${what}${code === "" ? "" : ` (${code})`}`, { reply: answer, cause });
}
