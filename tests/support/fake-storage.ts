import type { Clock } from "../../src/lib/world.ts";
import { domainOf } from "../../src/mail/address.ts";
import { contentSize } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import {
  type LeaseOptions,
  type ListQuery,
  LostLeaseError,
  type MessageState,
  type MessageSummary,
  NotFoundError,
  type QueueStorage,
  type RecipientChange,
  type Settlement,
  type SettleOptions,
  type StoredMessage,
  type WriteOptions,
} from "../../src/storage/storage.ts";

interface Kept {
  readonly id: string;
  readonly envelope: Envelope;
  due: number;
  attempts: number;
  held: boolean;
  /** Due whatever `due` says. */
  flushed: boolean;
  delayNotified: boolean;
  lease: { readonly holder: string; readonly until: number } | undefined;
  readonly changes: Map<number, RecipientChange>;
}

/** One call of `settle`. */
export interface Settled extends SettleOptions {
  readonly id: string;
  readonly settlement: Settlement;
}

/**
 * A storage in memory for tests of what stands above storage: the contract in its plainest form, with no queue or promise of
 * its own, so that a simulated world runs it the same way each time.
 */
export class FakeStorage implements QueueStorage {
  readonly messages = new Map<string, Kept>();
  readonly settled: Settled[] = [];
  readonly #clock: Clock;
  #made = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async write(
    envelopes: readonly Envelope[],
    timestamp: number,
    { ids, lease }: WriteOptions = {},
  ): Promise<readonly string[]> {
    return envelopes.map((envelope, index) => {
      this.#made += 1;
      const id = ids?.[index] ?? `FAKE${String(this.#made).padStart(12, "0")}`;
      if (!this.messages.has(id)) this.#keep(id, envelope, timestamp, lease);
      return id;
    });
  }

  #keep(id: string, envelope: Envelope, due: number, lease: Kept["lease"]): void {
    const fresh = { attempts: 0, held: false, flushed: false, delayNotified: false };
    this.messages.set(id, { id, envelope, due, lease, changes: new Map(), ...fresh });
  }

  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    const kept = this.#require(id);
    if (options.holder !== undefined && this.#leaseOf(kept)?.holder !== options.holder) {
      throw new LostLeaseError(`message ${id} is not leased to ${options.holder}`);
    }
    this.settled.push({ id, settlement, ...options });
    for (const { id: bounceId, envelope } of options.bounces ?? []) {
      if (!this.messages.has(bounceId)) {
        this.#keep(bounceId, envelope, this.#clock.now(), undefined);
      }
    }
    kept.attempts = settlement.attempts ?? kept.attempts;
    kept.delayNotified = settlement.delayNotified ?? kept.delayNotified;
    kept.flushed &&= settlement.due === undefined;
    kept.due = settlement.due ?? kept.due;
    for (const change of settlement.recipients ?? []) {
      if ((kept.changes.get(change.index)?.status ?? "pending") !== "pending") continue;
      kept.changes.set(change.index, change);
    }
    if (options.holder !== undefined) kept.lease = undefined;
    if (pendingOf(kept).length === 0) this.messages.delete(id);
  }

  async setTimestamp(id: string, due: number): Promise<void> {
    await this.settle(id, { due });
  }

  async incrementAttempts(id: string): Promise<number> {
    const attempts = this.#require(id).attempts + 1;
    await this.settle(id, { attempts });
    return attempts;
  }

  async setRecipientsDelivered(id: string, indexes: readonly number[]): Promise<void> {
    await this.settle(id, { recipients: indexes.map((index) => ({ index, status: "delivered" })) });
  }

  async *load() {
    for (const { id, due } of this.messages.values()) yield { id, timestamp: due };
  }

  async get(id: string): Promise<StoredMessage> {
    const kept = this.#require(id);
    const { attempts, due, delayNotified, envelope, changes } = kept;
    return {
      id,
      attempts,
      due,
      delayNotified,
      envelope: { ...envelope, recipients: pendingOf(kept) },
      state: this.#stateOf(kept),
      recipientCount: envelope.recipients.length,
      original: envelope.recipients,
      recipients: [...changes.values()],
    };
  }

  async remove(id: string): Promise<void> {
    this.messages.delete(id);
  }

  async lease(now: number, limit: number, options: LeaseOptions) {
    const { holder, until, skip = () => false, timelyOnly = false } = options;
    const due = this.#waiting()
      .filter((kept) => kept.due <= now || (kept.flushed && !timelyOnly))
      .sort((one, other) => one.due - other.due);
    const found: { id: string; domain: string; due: number }[] = [];
    for (const kept of due) {
      if (found.length === limit) break;
      const domain = domainOfKept(kept);
      if (skip(domain)) continue;
      kept.lease = { holder, until };
      found.push({ id: kept.id, domain, due: kept.due });
    }
    return found;
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    for (const id of ids) {
      const kept = this.messages.get(id);
      if (kept && this.#leaseOf(kept)?.holder === holder) kept.lease = { holder, until };
    }
  }

  async release(ids: readonly string[], holder: string): Promise<void> {
    for (const id of ids) {
      const kept = this.messages.get(id);
      if (kept?.lease?.holder === holder) kept.lease = undefined;
    }
  }

  async nextDue(): Promise<number | null> {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { flushed, due } of this.#waiting())
      earliest = Math.min(earliest, flushed ? 0 : due);
    return earliest === Number.POSITIVE_INFINITY ? null : earliest;
  }

  async flush(): Promise<number> {
    const waiting = this.#waiting();
    for (const kept of waiting) kept.flushed = true;
    return waiting.length;
  }

  async setHeld(id: string, held: boolean): Promise<boolean> {
    const kept = this.#require(id);
    if (kept.held === held) return false;
    kept.held = held;
    if (!held) kept.due = this.#clock.now();
    return true;
  }

  async list({ after = "", limit, state, domain, sender }: ListQuery) {
    return [...this.messages.values()]
      .map((kept) => this.#summaryOf(kept))
      .filter((each) => each.id > after)
      .filter((each) => state === undefined || each.state === state)
      .filter((each) => domain === undefined || each.domain === domain)
      .filter((each) => sender === undefined || each.sender === sender)
      .sort((one, other) => (one.id < other.id ? -1 : 1))
      .slice(0, limit);
  }

  async getInfo() {
    const states: Record<MessageState, number> = { incoming: 0, active: 0, deferred: 0, hold: 0 };
    for (const kept of this.messages.values()) states[this.#stateOf(kept)] += 1;
    return { size: this.messages.size, states, bytes: 0, oldestAt: null, corrupt: 0 };
  }

  async openBody(): Promise<never> {
    throw new Error("not here");
  }

  async wait(): Promise<null> {
    return null;
  }

  refusal(): undefined {
    return undefined;
  }

  async probe(): Promise<void> {}

  async close(): Promise<void> {}

  #require(id: string): Kept {
    const kept = this.messages.get(id);
    if (kept === undefined) throw new NotFoundError(`no message ${id}`);
    return kept;
  }

  #leaseOf({ lease }: Kept): Kept["lease"] {
    return lease !== undefined && lease.until > this.#clock.now() ? lease : undefined;
  }

  #waiting(): Kept[] {
    return [...this.messages.values()].filter((kept) => !(kept.held || this.#leaseOf(kept)));
  }

  #stateOf(kept: Kept): MessageState {
    if (kept.held) return "hold";
    if (this.#leaseOf(kept)) return "active";
    return kept.attempts === 0 ? "incoming" : "deferred";
  }

  #summaryOf(kept: Kept): MessageSummary {
    const { id, envelope, due, attempts } = kept;
    return {
      id,
      state: this.#stateOf(kept),
      sender: envelope.sender,
      size: contentSize(envelope.content),
      receivedAt: envelope.receivedAt,
      due,
      attempts,
      domain: domainOfKept(kept),
      recipientCount: envelope.recipients.length,
    };
  }
}

function pendingOf({ envelope, changes }: Kept) {
  return envelope.recipients.filter(
    ({ index }) => (changes.get(index)?.status ?? "pending") === "pending",
  );
}

function domainOfKept({ envelope }: Kept): string {
  return domainOf(envelope.recipients[0]?.address ?? "");
}
