import type { Reply } from "./reply.ts";

/** A message could not be queued. Edges answer with `reply`; without one the answer is `451 4.3.0`. */
export class QueueError extends Error {
  override readonly name: string = "QueueError";
  readonly reply: Reply | undefined;

  constructor(message: string, options: { reply?: Reply; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reply = options.reply;
  }
}
