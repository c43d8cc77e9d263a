import type { Envelope } from "../../src/mail/envelope.ts";
import type {
  Lease,
  MessageSummary,
  Settlement,
  SettleOptions,
  StoredMessage,
} from "../../src/storage/storage.ts";
import { noCounts } from "./counts.ts";
import { Leases } from "./leases.ts";
import {
  type End,
  faultsOfAttempt,
  faultsOfNotices,
  hasten,
  type Intent,
  type Message,
  openMessage,
  reported,
} from "./message.ts";
import { Notices } from "./notices.ts";

/**
 * What everybody outside the queue knows: what was acknowledged, what peers took, what has ended and how. It finds fault
 * with whatever breaks a promise (P1 to P5), and is told of everything as it happens.
 */
export class Ledger {
  readonly messages = new Map<string, Message>();
  readonly counts = noCounts();
  /** Messages that came to an end, which nobody may see again. */
  readonly #gone = new Set<string>();
  readonly #leases: Leases;
  readonly notices: Notices | undefined;
  readonly #now: () => number;
  /** The first thing that was wrong. */
  violation: string | undefined;

  /** `hasBounceQueue`: notices are not stored with their settlements but before, in another queue. */
  constructor(now: () => number, hasBounceQueue: boolean) {
    this.#now = now;
    this.notices = hasBounceQueue ? new Notices() : undefined;
    this.#leases = new Leases(now);
  }

  /** Notes what is wrong. Does not throw: whoever is asked to do something wrong is the product. */
  blame(...texts: readonly string[]): void {
    this.violation ??= texts[0];
  }

  isGone(id: string): boolean {
    return this.#gone.has(id);
  }

  /** A write is about to be done. Returns what to call when it ends. */
  writing(
    ids: readonly string[],
    envelopes: readonly Envelope[],
    due: number,
    lease?: { readonly holder: string; readonly until: number },
  ): (isStored: boolean) => void {
    const fresh = ids.flatMap((id, index) => {
      const envelope = envelopes[index];
      if (this.notices?.mayComeAgain(id)) this.#gone.delete(id);
      if (envelope === undefined) return [];
      const message = openMessage(id, envelope, ids, due, this.#now());
      if (this.#isKnown(id)) {
        this.notices?.handedOverAgain(message);
        return [];
      }
      this.notices?.countEarlier(message);
      this.messages.set(id, message);
      return [message];
    });
    return (isStored) => {
      for (const message of fresh) {
        if (!isStored) message.state = "refused";
        else this.#store(message);
        if (isStored && lease) this.#leases.take(message.id, lease.holder, lease.until);
      }
    };
  }

  /** A client was told that its message is safe. */
  acknowledged(ids: readonly string[], addresses: readonly string[]): void {
    const kept = new Set<string>();
    for (const id of ids) {
      const message = this.messages.get(id);
      if (message?.state !== "stored" && !this.isGone(id))
        this.blame(`P1: ${id} was acknowledged and is not stored`);
      for (const { address } of message?.entries ?? []) kept.add(address);
    }
    if (ids.some((id) => this.isGone(id))) return;
    const missing = addresses.filter((address) => !kept.has(address));
    if (missing.length > 0) this.blame(`P1: acknowledged without ${missing.join(" ")}`);
  }

  leased(leases: readonly Lease[], holder: string, until: number): void {
    for (const { id } of leases) {
      const message = this.#find(id);
      // A settlement that is on its way to the disk has ended its lease; that it is not tried before is looked at there.
      const isEnding = message !== undefined && [...message.intents].some((one) => one.endsLease);
      if (this.#leases.isHeld(id) && !isEnding) this.blame(`P3: ${id} is leased twice`);
      if (message?.isHeld) this.blame(`${id} is on hold and was leased`);
      if (message?.state !== "stored")
        this.blame(`${id} was leased and is ${message?.state ?? "not stored"}`);
      else message.touchedAt = this.#now();
      this.#leases.take(id, holder, until);
    }
  }

  renewed(ids: readonly string[], holder: string, until: number): void {
    for (const id of ids) this.#leases.renew(id, holder, until);
  }

  released(ids: readonly string[], holder: string): void {
    for (const id of ids) {
      this.#leases.release(id, holder);
      const message = this.messages.get(id);
      if (message) message.touchedAt = this.#now();
    }
  }

  /** Every lease has ended with the process. */
  leasesEnded(): void {
    this.#leases.clear();
  }

  /** A settlement is about to be made. Returns what to call when it is acknowledged, and when it failed. */
  settling(id: string, settlement: Settlement, { holder, bounces = [] }: SettleOptions) {
    const message = this.messages.get(id);
    const ends = new Map<number, End>();
    for (const { index, status } of settlement.recipients ?? [])
      if (status !== "pending") ends.set(index, status);
    const { attempts, due } = settlement;
    const intent: Intent = {
      ends,
      bounces,
      endsLease: holder !== undefined,
      ...(attempts === undefined ? {} : { attempts }),
      ...(due === undefined ? {} : { due }),
    };
    const wasHeld = holder === undefined || this.#leases.isHeldBy(id, holder);
    const lease = this.#leases.get(id);
    if (message) {
      this.blame(...(this.notices?.missing(message, intent) ?? faultsOfNotices(message, intent)));
      message.intents.add(intent);
    }
    return {
      done: (): void => {
        if (!wasHeld) this.blame(`P3: ${id} was settled by a holder that has lost its lease`);
        if (intent.endsLease) this.#leases.end(id, lease);
        if (message) this.#settled(message, intent);
      },
      failed: (isLost: boolean): void => {
        message?.intents.delete(intent);
        if (isLost && wasHeld && message && !this.isGone(id)) {
          this.blame(`P3: ${id} was refused to the holder of its lease`);
        }
      },
    };
  }

  /** The next attempt was set by hand. */
  rescheduled(id: string, due: number): void {
    const message = this.messages.get(id);
    if (message) hasten(message, due);
  }

  flushed(): void {
    for (const message of this.messages.values()) hasten(message, 0);
  }

  /** A hold is about to be set or taken back. Returns what to call when it is durable. */
  holding(id: string, held: boolean): () => void {
    const message = this.messages.get(id);
    if (message && !held) {
      message.isHeld = false;
      message.notBefore = 0;
      message.touchedAt = this.#now();
    }
    return () => {
      if (message && held) message.isHeld = true;
    };
  }

  /** An operator drops a message. Returns what to call when that is durable. */
  dropping(id: string): () => void {
    const message = this.messages.get(id);
    if (message === undefined) return () => undefined;
    const pending = message.entries.filter(({ end }) => end === undefined);
    const ends = new Map(pending.map(({ index }) => [index, "dropped" as const]));
    const intent: Intent = { ends, bounces: [], endsLease: false };
    message.intents.add(intent);
    return () => {
      this.#settled(message, intent);
      this.#leases.forget(id);
    };
  }

  /** The relay was given a message. */
  attempted(id: string, attempts: number, indexes: readonly number[]): void {
    this.counts.attempts += 1;
    const message = this.#find(id);
    if (message === undefined) {
      this.blame(
        `P3: ${id} is attempted ${this.isGone(id) ? "after its end" : "and nobody wrote it"}`,
      );
      return;
    }
    this.blame(...faultsOfAttempt(message, attempts, indexes, this.#now()));
    message.underWay += 1;
    message.touchedAt = this.#now();
  }

  attemptEnded(id: string): void {
    const message = this.messages.get(id);
    if (message === undefined) return;
    message.underWay -= 1;
    message.touchedAt = this.#now();
  }

  /** A peer took the message for one recipient. `isHeard`: and the queue got to know. */
  took(id: string, index: number, isHeard: boolean): void {
    const entry = this.messages.get(id)?.entries[index];
    if (entry === undefined) return;
    if (entry.taken > entry.excused) this.blame(`P5: ${entry.address} of ${id} is delivered twice`);
    if (entry.taken > 0) this.counts.duplicates += 1;
    entry.taken += 1;
    if (!isHeard) entry.excused = entry.taken;
  }

  /** What peers have taken, or take from a process that is paused, the queue cannot know of. */
  excuse(): void {
    this.notices?.excuse(this.messages.values());
    for (const { entries, underWay } of this.messages.values()) {
      for (const entry of entries) entry.excused = entry.taken + (underWay > 0 ? 1 : 0);
    }
  }

  /** What everybody can see of the store, at an instant at which nothing need be under way. */
  compare(stored: ReadonlyMap<string, MessageSummary>): void {
    for (const { id, state, intents, isHeld } of this.messages.values()) {
      if (state !== "stored" || intents.size > 0) continue;
      const found = stored.get(id);
      if (found === undefined) this.blame(`P1: ${id} is acknowledged and not stored`);
      else if (isHeld && found.state !== "hold")
        this.blame(`${id} is on hold and is ${found.state}`);
    }
    this.#checkStrangers(stored.keys());
  }

  /** A power cut: compares what is stored with what may be, before anything goes on. */
  restarted(stored: ReadonlyMap<string, StoredMessage>): void {
    this.#checkStrangers(stored.keys());
    for (const message of [...this.messages.values()]) this.#reconcile(message, stored);
  }

  #checkStrangers(ids: Iterable<string>): void {
    for (const id of ids) {
      if (this.#find(id) || this.#isOfAnIntent(id)) continue;
      this.blame(`${id} is stored ${this.isGone(id) ? "after its end" : "and nobody wrote it"}`);
    }
  }

  /** Also a notice that was seen to its end and turns out to be stored anew. */
  #find(id: string): Message | undefined {
    const message = this.messages.get(id) ?? this.notices?.takeAgain(id);
    if (message === undefined || this.messages.has(id)) return message;
    this.#gone.delete(id);
    this.messages.set(id, message);
    this.#store(message);
    return message;
  }

  #isKnown(id: string): boolean {
    const known = this.messages.get(id);
    return this.#gone.has(id) || (known !== undefined && known.state !== "refused");
  }

  #store(message: Message): void {
    message.state = "stored";
    message.touchedAt = this.#now();
    this.counts.stored += 1;
    if (message.report !== undefined) this.counts.notices += 1;
    this.blame(...(this.notices?.stored(message) ?? []));
  }

  #storeNotice({ id, envelope }: Intent["bounces"][number]): void {
    if (this.#isKnown(id)) return;
    const notice = openMessage(id, envelope, [id], this.#now(), this.#now());
    this.messages.set(id, notice);
    this.#store(notice);
  }

  #settled(message: Message, intent: Intent): void {
    message.intents.delete(intent);
    if (this.#gone.has(message.id)) return;
    const { attempts, due, bounces } = intent;
    if (attempts !== undefined) {
      if (attempts < message.attempts)
        this.blame(`P3: the attempts of ${message.id} go back to ${attempts}`);
      message.attempts = attempts;
    }
    if (due !== undefined) message.notBefore = due;
    message.touchedAt = this.#now();
    for (const bounce of bounces) this.#storeNotice(bounce);
    for (const [index, end] of intent.ends) this.#end(message, index, end);
    this.blame(...reported(message, bounces));
    if (message.entries.every(({ end }) => end !== undefined)) this.#forget(message);
  }

  #end(message: Message, index: number, end: End): void {
    const entry = message.entries[index];
    if (entry === undefined || entry.end !== undefined) return;
    entry.end = end;
    this.counts[end] += 1;
    if (end === "delivered" && entry.taken === 0)
      this.blame(`P5: ${entry.address} counts as delivered, and nobody took it`);
    const isKnowable = entry.taken > entry.excused;
    if (end === "bounced" && isKnowable)
      this.blame(`P5: ${entry.address} is delivered and bounced`);
  }

  #forget(message: Message): void {
    this.messages.delete(message.id);
    this.#gone.add(message.id);
    this.notices?.ended(message);
  }

  #isOfAnIntent(id: string): boolean {
    for (const { intents } of this.messages.values()) {
      for (const { bounces } of intents)
        if (bounces.some((bounce) => bounce.id === id)) return true;
    }
    return false;
  }

  #reconcile(message: Message, stored: ReadonlyMap<string, StoredMessage>): void {
    const { id, state, group } = message;
    const found = stored.get(id);
    message.underWay = 0;
    if (state !== "stored") {
      const together = group.filter((other) => this.messages.get(other)?.state === state);
      if (together.some((other) => stored.has(other) !== stored.has(id))) {
        this.blame(`P2: of ${group.join()} only some are stored`);
      }
      if (found === undefined) this.messages.delete(id);
      else if (state === "refused") this.counts.ghosts += 1;
      // The rest of the group is looked at with its state unchanged.
      if (found !== undefined) queueMicrotask(() => this.#store(message));
      return;
    }
    const pending = new Set(found?.envelope.recipients.map(({ index }) => index));
    const intents = [...message.intents];
    message.intents.clear();
    for (const entry of message.entries.filter(
      ({ end, index }) => end === undefined && !pending.has(index),
    )) {
      const intent = intents.find(({ ends }) => ends.has(entry.index));
      const end = intent?.ends.get(entry.index);
      if (end === undefined) this.blame(`P1: ${entry.address} of ${id} is gone without an end`);
      else this.#end(message, entry.index, end);
    }
    for (const intent of intents) this.#reconcileNotices(message, intent, stored);
    if (found === undefined) {
      this.#forget(message);
      return;
    }
    const counts = [message.attempts, ...intents.flatMap(({ attempts }) => attempts ?? [])];
    if (!counts.includes(found.attempts))
      this.blame(`P3: ${id} has ${found.attempts} attempts, not ${counts.join(" or ")}`);
    message.attempts = found.attempts;
    message.notBefore = Math.min(message.notBefore, found.due);
    if (message.isHeld && found.state !== "hold")
      this.blame(`${id} was on hold and is ${found.state}`);
    message.isHeld = found.state === "hold";
    message.touchedAt = this.#now();
  }

  /** P4: notices are there exactly when their settlement is. */
  #reconcileNotices(
    message: Message,
    intent: Intent,
    stored: ReadonlyMap<string, StoredMessage>,
  ): void {
    const { ends, bounces } = intent;
    if (bounces.length === 0) return;
    const isDone =
      ends.size > 0 && [...ends.keys()].every((index) => message.entries[index]?.end !== undefined);
    for (const bounce of bounces) {
      const { id } = bounce;
      const isThere = stored.has(id);
      if (ends.size > 0 && isThere !== isDone && !this.isGone(id)) {
        this.blame(
          `P4: notice ${id} is ${isThere ? "" : "not "}stored, its settlement of ${message.id} is ${isDone ? "" : "not "}`,
        );
      }
      if (isThere) this.#storeNotice(bounce);
    }
    if (isDone) this.blame(...reported(message, bounces));
  }
}
