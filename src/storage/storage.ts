import type { BodySink } from "../mail/content.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import { QueueError } from "../mail/queue-error.ts";
import type { Reply } from "../mail/reply.ts";
import type { Places } from "./places.ts";

/**
 * Where the queue keeps its mail: the parent's `QueueStorage`. Every method may throw `QueueError`; what it promised
 * before it threw still holds. Content is immutable and apart from the small state that changes.
 *
 * Instants are milliseconds since the epoch. Recipients are named by their index in the envelope as stored, always.
 */
export interface QueueStorage {
  /**
   * Stores all envelopes or none (P2) and returns their ids in the same order; when it resolves they survive a power
   * cut (P1). Attempts start at 0, the first attempt is due at `timestamp`. An id that is already stored is left as it
   * is: writing it again is a no-op. With `lease`, the new messages are leased to that holder from the start. An id has 1
   * to 64 letters, digits, _ and -, an envelope a recipient. The envelopes share at most one streamed body.
   */
  write(
    envelopes: readonly Envelope[],
    timestamp: number,
    options?: WriteOptions,
  ): Promise<readonly string[]>;

  /** Opens a place for a body that should not be in memory whole; `write` takes the body it ends in without a copy. */
  openBody(): Promise<BodySink>;

  /**
   * One settlement (P3): everything an attempt did, in one durable step. With `bounces`, those are stored in the
   * same step (P4). Nobody pending any more: the message is removed. A `holder` that lost its lease is refused with
   * `LostLeaseError` and nothing changes. Ends the lease. Unknown id: `NotFoundError`.
   */
  settle(id: string, settlement: Settlement, options?: SettleOptions): Promise<void>;

  /** Sets the next attempt of one message. The parent's `set_timestamp`. */
  setTimestamp(id: string, timestamp: number): Promise<void>;
  /** Counts one attempt and returns the new count. The parent's `increment_attempts`. */
  incrementAttempts(id: string): Promise<number>;
  /** Recipients that later attempts skip. The parent's `set_recipients_delivered`, with original indexes only. */
  setRecipientsDelivered(id: string, indexes: readonly number[]): Promise<void>;

  /** Everything stored, in no particular order: the parent's `load`. Reads in pages; never the whole queue at once. */
  load(): AsyncIterable<{ readonly timestamp: number; readonly id: string }>;

  /** One message, its envelope without the recipients that are done. Unknown id: `NotFoundError`. */
  get(id: string): Promise<StoredMessage>;

  /** Forgets a message and gives its space back. Idempotent. */
  remove(id: string): Promise<void>;

  /**
   * Leases at most `limit` messages that are due at `now`, earliest first as far as `skip` allows, until
   * `now + ttlMs`. Nobody else sees them until they are settled, released or expired. Messages whose domain `skip`
   * names are passed over without cost that grows with their number (P9).
   */
  lease(now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]>;
  /** Extends leases that `holder` still has. */
  renew(ids: readonly string[], holder: string, until: number): Promise<void>;
  /** Gives leases back unsettled. Ids not leased to `holder` are ignored. */
  release(ids: readonly string[], holder: string): Promise<void>;
  /** When the earliest unleased, unheld message is due (possibly in the past); `null` when there is none. */
  nextDue(): Promise<number | null>;

  /** Makes everything that waits due now, in constant time however deep the queue; returns how many that were. */
  flush(): Promise<number>;
  /** A held message is kept and never due; releasing it makes it due now. Returns false when it already was so. */
  setHeld(id: string, held: boolean): Promise<boolean>;

  /** One page of summaries in the order of ids, which is the order of arrival. */
  list(query: ListQuery): Promise<readonly MessageSummary[]>;
  /** Counts, kept up to date: constant time. */
  getInfo(): Promise<StorageInfo>;

  /**
   * News from other processes, the parent's `wait`: resolves with messages that somebody else wrote or made due.
   * With none of them: some may have been missed, or something else has changed, and it is time to look.
   * `null`: this engine has no such news, do not call again.
   */
  wait(signal: AbortSignal): Promise<readonly { timestamp: number; id: string }[] | null>;

  /**
   * Several nodes may deliver out of it at the same time. What one of them has leased no other can deliver, so that each leases
   * no more than it soon gets to.
   */
  readonly isShared?: boolean;

  /** Counts deliveries of all nodes, in an engine that can. */
  readonly places?: Places;

  /** Undefined while mail can be stored; else why not, in words for operators and clients (P7). Never waits. */
  refusal(): string | undefined;
  /** Resolves when a small durable write works: what `/readyz` asks. Rejects with what is wrong. */
  probe(): Promise<void>;

  /** Closes after everything under way is durable; from then on every other call is refused. Idempotent. */
  close(): Promise<void>;
}

/** Under which ids, and for whom, envelopes are stored. */
export interface WriteOptions {
  /** One for each envelope; made by the storage without them. */
  readonly ids?: readonly string[];
  /** The ids were made for this call: nobody else has them, so that nothing needs to be looked up. */
  readonly fresh?: boolean;
  /** Who has them from the start. */
  readonly lease?: { readonly holder: string; readonly until: number };
  /**
   * Settled in the same step: mail that comes out of another store arrives with all that is known of it. Nothing when the
   * message is stored already. It must leave somebody pending.
   */
  readonly settlement?: Settlement;
}

/** Who settles, and what is stored with it. */
export interface SettleOptions {
  /** Refuse unless this holder has the lease. Without it the settlement is an operator's, who needs none. */
  readonly holder?: string;
  /** Stored in the same step, due at once and unleased. */
  readonly bounces?: readonly { readonly id: string; readonly envelope: Envelope }[];
}

/** What changes; what is absent stays as it is. */
export interface Settlement {
  /** The new count of completed attempts. */
  readonly attempts?: number;
  /** What became of recipients; those that are not named stay as they are. */
  readonly recipients?: readonly RecipientChange[];
  /** The next attempt. */
  readonly due?: number;
  /** A delay notice was sent (once in the life of a message). */
  readonly delayNotified?: boolean;
  /** Holds the message or ends that, as `setHeld` does, but leaves its next attempt where it is. */
  readonly held?: boolean;
  /** Notes that the message is on its way into another store; `null`: not any more. */
  readonly moving?: Moving | null;
}

/** On its way from one store into another one, and held in both until it is there. */
export interface Moving {
  /** Names of the stores, without a login. */
  readonly from: string;
  /** Where it goes. */
  readonly to: string;
  /** It was held by an operator before, and has to be again afterwards. */
  readonly held: boolean;
}

/** What became of one recipient. */
export interface RecipientChange {
  /** Its index in the envelope as stored. */
  readonly index: number;
  /** `pending` stays in the queue with the reply as its reason; the others are ends. */
  readonly status: RecipientStatus;
  /** Why, in the words of who said it. */
  readonly reply?: Reply;
  /** Who said it: `mx.example[192.0.2.1]:25`. */
  readonly relay?: string;
}

/** Whether a recipient is still tried, and if not, how it ended. */
export type RecipientStatus = "pending" | "delivered" | "bounced" | "dropped";

/** One message as it is stored at this moment. */
export interface StoredMessage {
  /** Its id. */
  readonly id: string;
  /** Without the recipients that are done; each keeps its index. */
  readonly envelope: Envelope;
  /** Completed ones. */
  readonly attempts: number;
  /** When the next attempt is. */
  readonly due: number;
  /** Where it is in its life. */
  readonly state: MessageState;
  /** Its sender was told that it still waits. */
  readonly delayNotified: boolean;
  /** How many recipients the envelope had when it was stored. */
  readonly recipientCount: number;
  /** All recipients as they were stored, done ones included. */
  readonly original: readonly Recipient[];
  /** The last thing known of each recipient that an attempt touched, done ones included. */
  readonly recipients: readonly RecipientChange[];
  /** It is on its way from or to another store. */
  readonly moving?: Moving;
  /** Who has it, until when; only a store that nodes share says, since else it is always this process. */
  readonly lease?: Tenure;
}

/** Who has a message leased, and until when. */
export interface Tenure {
  /** As it named itself when it leased the message. */
  readonly holder: string;
  /** When that ends by itself. */
  readonly until: number;
}

/** For whom mail is leased, how long, and which. */
export interface LeaseOptions {
  /** Any name; what is leased under it is settled, renewed and released under it. */
  readonly holder: string;
  /** The instant at which the lease ends by itself. */
  readonly until: number;
  /** Domains to pass over for now; asked once for each message that is looked at. */
  readonly skip?: (domain: string) => boolean;
  /** Leave out what is due only because of a flush. */
  readonly timelyOnly?: boolean;
}

/** A message that a holder may work on. */
export interface Lease {
  /** Its id. */
  readonly id: string;
  /** Lower-case domain of the first pending recipient; what limits and isolation go by. */
  readonly domain: string;
  /** When it was due. */
  readonly due: number;
}

/** `incoming`: never tried; `active`: leased; `deferred`: tried, waits; `hold`: kept by an operator. */
export type MessageState = "incoming" | "active" | "deferred" | "hold";

/** Which messages `list` shows; those that agree with every given part. */
export interface ListQuery {
  /** Ids after this one; from the start without it. */
  readonly after?: string;
  /** At most so many. */
  readonly limit: number;
  /** In this state. */
  readonly state?: MessageState;
  /** Whose first pending recipient is in this domain, lower case. */
  readonly domain?: string;
  /** From this sender, as it was given. */
  readonly sender?: string;
}

/** What a list shows of a message. */
export interface MessageSummary {
  /** Its id. */
  readonly id: string;
  /** Where it is in its life. */
  readonly state: MessageState;
  /** The return path; empty for the null sender. */
  readonly sender: string;
  /** Octets of content. */
  readonly size: number;
  /** When it was received. */
  readonly receivedAt: number;
  /** When the next attempt is. */
  readonly due: number;
  /** Completed ones. */
  readonly attempts: number;
  /** Of the first pending recipient, in lower case. */
  readonly domain: string;
  /** Recipients that it had when it was stored. */
  readonly recipientCount: number;
  /** It is on its way to another store, or from there. */
  readonly moving?: Moving;
}

/** Counts of the whole queue. */
export interface StorageInfo {
  /** Messages stored, whatever their state. */
  readonly size: number;
  /** Messages in each state. */
  readonly states: Readonly<Record<MessageState, number>>;
  /** Octets of content of the messages stored. */
  readonly bytes: number;
  /** When the first message in the order of ids was received; `null` when empty. */
  readonly oldestAt: number | null;
  /** Records that were moved aside since the store was made (P6). */
  readonly corrupt: number;
  /** Requests that this process has sent to its store, by kind, repetitions included, where each costs: the bill. */
  readonly requests?: Readonly<Record<string, number>>;
}

/** The id is not stored (any more). */
export class NotFoundError extends QueueError {
  override readonly name = "NotFoundError";
}

/** Somebody else holds the message by now; what this holder did must not be recorded. */
export class LostLeaseError extends QueueError {
  override readonly name = "LostLeaseError";
}

/** The record is damaged and was moved aside (P6); the message is no longer stored. */
export class CorruptError extends QueueError {
  override readonly name = "CorruptError";
}
