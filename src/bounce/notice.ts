import type { Envelope, Recipient } from "../mail/envelope.ts";
import type { Reply } from "../mail/reply.ts";

/** What became of the recipients (RFC 3464 §2.3.3). `relayed`: to a next hop that cannot notify of success itself. */
export type NoticeAction = "failed" | "delayed" | "delivered" | "relayed";

/** One notification to the sender of a message: everything that one attempt did to some of its recipients. */
export interface Notice {
  /** What became of all of its recipients. */
  readonly action: NoticeAction;
  /** The message that it is about. */
  readonly original: Envelope;
  /** Its queue id. */
  readonly originalId: string;
  /** At least one. */
  readonly recipients: readonly NoticeRecipient[];
  /** Of the notification itself, without the angle brackets. */
  readonly messageId: string;
  /** The host name that reports. */
  readonly reportingMta: string;
  /** Whom people may ask for help. */
  readonly postmaster: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** A failed message of at most so many octets goes back whole, of others just the header; see `returnedPart`. */
  readonly returnBytesMax: number;
}

/** One recipient that a notification reports. */
export interface NoticeRecipient {
  /** With its index in the message, and what was asked of notifications about it. */
  readonly recipient: Recipient;
  /** The last word on it. */
  readonly reply: Reply;
  /** RFC 3463, instead of what the reply says: `4.4.7` when the message expired. */
  readonly status?: string;
  /** Who replied, `mx.example[192.0.2.1]:25`; absent when the reply is our own. */
  readonly relay?: string;
  /** The command that was answered. */
  readonly command?: string;
  /** When it was tried last, in milliseconds since the epoch. */
  readonly attemptedAt: number;
  /** Until when a delayed message is tried again. */
  readonly expiresAt?: number;
}

/**
 * Makes the notification, the parent's `bounce_factory`; `null` for none. Whether the sender is to be notified at all
 * is decided before, by `shouldNotify`.
 */
export type BounceFactory = (notice: Notice) => Envelope | null;

/** How much of a failed message goes back by default. At most `HEAD_BYTES_MAX`, since no body is read for it. */
export const RETURN_BYTES_MAX = 50 * 1024;
