import { QueueError } from "../mail/queue-error.ts";
import { printable, REPLY_TEXT_MAX, type Reply, reply } from "../mail/reply.ts";
import type { Delivery, Outcome, Relay } from "./relay.ts";

/**
 * Tries to hand on one message, the parent's `Relay.attempt`. Resolves with one reply for all recipients, or with one for each
 * in the order of the envelope: 2xx is delivered, 4xx is tried again, 5xx comes back to the sender. What it throws is one
 * reply for all of them: that of a `QueueError`, else `450 4.0.0`. It should end soon when the signal is aborted.
 */
export type Attempt = (
  delivery: Delivery,
  signal: AbortSignal,
) => Promise<Reply | readonly Reply[]>;

/** What a relay of one's own may say about itself. */
export interface CustomRelayOptions {
  /** What mail for a domain shares its limits with; all of it is one destination without this. */
  readonly destinationOf?: (domain: string) => string;
  /** Called once, when the relay is closed. */
  readonly close?: () => Promise<void>;
}

const MISSING = reply(450, "4.0.0", "The relay gave no answer for this recipient");

/** A relay out of one function: mail goes wherever a program can carry it. */
export function openCustomRelay(attempt: Attempt, options: CustomRelayOptions = {}): Relay {
  const { destinationOf = () => "custom", close = () => Promise.resolve() } = options;
  let closing: Promise<void> | undefined;
  return {
    async deliver(delivery, signal) {
      const answer = await answerOf(() => attempt(delivery, signal));
      return delivery.envelope.recipients.map(({ index }, place) => {
        const own = "code" in answer ? answer : answer[place];
        return outcomeOf(index, own ?? MISSING);
      });
    },
    destinationOf,
    stats: () => ({ open: 0, idle: 0 }),
    close() {
      closing ??= close();
      return closing;
    },
  };
}

async function answerOf(ask: () => ReturnType<Attempt>): ReturnType<Attempt> {
  try {
    return await ask();
  } catch (error) {
    return replyTo(error);
  }
}

function outcomeOf(recipient: number, said: Reply): Outcome {
  return { recipient, kind: kindOf(said), reply: said, setupMs: 0, transferMs: 0 };
}

function kindOf({ code }: Reply): Outcome["kind"] {
  if (code >= 200 && code < 300) return "delivered";
  return code >= 500 ? "rejected" : "deferred";
}

function replyTo(error: unknown): Reply {
  if (error instanceof QueueError && error.reply !== undefined) return error.reply;
  const reason = error instanceof Error ? error.message : String(error);
  const text = printable(`Unhandled delivery error: ${reason}`, REPLY_TEXT_MAX);
  return reply(450, "4.0.0", text);
}
