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
  status(): Promise<QueueStatus>;
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

export type Verb = "retry" | "hold" | "release" | "remove" | "bounce";

/** All messages that agree with every given part; an empty one names all. */
export interface Selector {
  readonly state?: MessageState;
  readonly domain?: string;
  readonly sender?: string;
}

export interface QueueStatus extends StorageInfo {
  /** Deliveries under way and waiting in the window. */
  readonly delivering: number;
  readonly waiting: number;
  /** Not before this instant, which it is when something is due already. */
  readonly nextDue: number | null;
  readonly connections: { readonly open: number; readonly idle: number };
  /** The busiest and the suspended ones, at most `DESTINATIONS_MAX`. */
  readonly destinations: readonly DestinationStatus[];
  /** Undefined while mail can be accepted durably (P1); else why not. */
  readonly refusal: string | undefined;
}

export interface DestinationStatus {
  readonly destination: string;
  readonly delivering: number;
  readonly waiting: number;
  /** How many deliveries at once it is trusted with by now. */
  readonly limit: number;
  /** Not tried before this instant, after failures. */
  readonly suspendedUntil: number | null;
  readonly lastFailure: string | null;
}

export interface MessageDetail extends MessageSummary {
  readonly envelope: Envelope;
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
