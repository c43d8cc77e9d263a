import type { Envelope, Recipient } from "../mail/envelope.ts";
import { QueueError } from "../mail/queue-error.ts";
import type {
  ListQuery,
  MessageState,
  MessageSummary,
  RecipientChange,
  StorageInfo,
  Tenure,
} from "../storage/storage.ts";

/** The message is being delivered at this moment: what was asked would come too late, or twice. Trying again helps. */
export class BusyError extends QueueError {
  override readonly name = "BusyError";
}

/** What operators may see and do: the only thing that the admin room knows of the queue. */
export interface QueueControl {
  /** Counts and conditions, in constant time. */
  status(): Promise<QueueStatus>;
  /** One page of summaries, in the order of arrival. */
  list(query: ListQuery): Promise<readonly MessageSummary[]>;
  /** `undefined`: no such message. */
  show(id: string): Promise<MessageDetail | undefined>;
  /** Makes one message due now, a held one aside. Like all verbs on one message: false when there is no such message. */
  retry(id: string): Promise<boolean>;
  /** Keeps a message until it is released. A delivery under way goes on, and what it leaves over is held. */
  hold(id: string): Promise<boolean>;
  /** Makes a held message due now. */
  release(id: string): Promise<boolean>;
  /** Drops a message without telling its sender. A delivery under way goes on and leaves nothing over. */
  remove(id: string): Promise<boolean>;
  /**
   * Ends a message as undeliverable and tells its sender, as if its lifetime were over. Throws `BusyError` while it is
   * being delivered.
   */
  bounce(id: string): Promise<boolean>;
  /** Makes everything that waits due now, or what a selector names; returns how many. */
  flush(selector?: Selector): Promise<number>;
  /** Applies a verb to everything that a selector names, page by page; returns how many it changed. */
  each(verb: Verb, selector: Selector): Promise<number>;
}

/** What can be done to one message, and so to many. */
export type Verb = "retry" | "hold" | "release" | "remove" | "bounce";

/** All messages that agree with every given part; an empty one names all. */
export interface Selector {
  /** Only those in this state. */
  readonly state?: MessageState;
  /** Only those whose first pending recipient is in this domain. */
  readonly domain?: string;
  /** Only those of this sender, as it was given. */
  readonly sender?: string;
}

/** The queue at a glance. */
export interface QueueStatus extends StorageInfo {
  /** Deliveries under way and waiting in the window. */
  readonly delivering: number;
  /** Due messages in memory that wait for their turn. */
  readonly waiting: number;
  /** Not before this instant, which it is when something is due already. */
  readonly nextDue: number | null;
  /** Connections to next hops. */
  readonly connections: { readonly open: number; readonly idle: number };
  /** The busiest and the suspended ones, at most `DESTINATIONS_MAX`. */
  readonly destinations: readonly DestinationStatus[];
  /** Undefined while mail can be accepted durably (P1); else why not. */
  readonly refusal: string | undefined;
}

/** One destination as it is at this moment. */
export interface DestinationStatus {
  /** What its mail shares connections and limits with. */
  readonly destination: string;
  /** Deliveries under way. */
  readonly delivering: number;
  /** Due messages in memory. */
  readonly waiting: number;
  /** How many deliveries at once it is trusted with by now. */
  readonly limit: number;
  /** What this node has of the limit that all nodes share, where they do. */
  readonly places?: number;
  /** Not tried before this instant, after failures. */
  readonly suspendedUntil: number | null;
  /** Why the last failure failed; `null` after a success. */
  readonly lastFailure: string | null;
}

/** Everything that is known of one message. */
export interface MessageDetail extends MessageSummary {
  /** With the pending recipients only, each with its original index. */
  readonly envelope: Envelope;
  /** Its sender was told that it still waits. */
  readonly delayNotified: boolean;
  /** When it expires. */
  readonly expiresAt: number;
  /** All recipients as they were stored, done ones included. */
  readonly original: readonly Recipient[];
  /** The last thing known of each recipient that an attempt touched, done ones included. */
  readonly recipients: readonly RecipientChange[];
  /** Which node has it, until when, where several share the queue. */
  readonly lease?: Tenure;
}
