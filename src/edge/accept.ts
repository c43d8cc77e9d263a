import type { BodySink } from "../mail/content.ts";
import type { Envelope } from "../mail/envelope.ts";

/**
 * The one door into the queue. Resolves when every envelope that the policies made is durable (P1, P2), with their ids;
 * the first is what the client hears. Rejects with `QueueError` when nothing was stored.
 */
export type Accept = (envelope: Envelope) => Promise<readonly string[]>;

/** What an edge needs of the queue. */
export interface FrontDoor {
  readonly accept: Accept;
  /** Where the bytes of large messages go while they arrive (P8). */
  readonly openBody: () => Promise<BodySink>;
  /** Undefined while mail can be accepted durably; else the reason that clients get with `452 4.3.1` or `421`. */
  readonly refusal: () => string | undefined;
}
