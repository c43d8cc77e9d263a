import type { Clock } from "../lib/world.ts";
import { limitOf } from "../schedule/throttle.ts";
import type { Lease, QueueStorage } from "../storage/storage.ts";
import type { Agenda, Lane } from "./agenda.ts";
import type { Custody } from "./custody.ts";
import { PAUSE_MS, type Persistence } from "./persistence.ts";

/**
 * While mail that is due cannot be had, storage cannot say what becomes due behind it, and is asked now and then: after
 * this long at first, and twice as long each time that nothing comes of it.
 */
const BLOCKED_FIRST_MS = 1000;
const BLOCKED_MAX_MS = 16_000;

/** Messages that one look takes; for more it looks again, and other mail has its turn between. */
const LOOK_MAX = 500;

export interface FeedParts {
  readonly storage: Pick<QueueStorage, "lease" | "nextDue">;
  readonly clock: Clock;
  readonly holder: string;
  readonly agenda: Agenda;
  readonly custody: Custody;
  readonly persistence: Persistence;
  readonly destinationOf: (domain: string) => string;
  /** Puts what was leased on the agenda; returns how many messages that are. */
  readonly take: (leases: readonly Lease[]) => number;
  /** Mail that is due was passed over at `now` since its destination is suspended. */
  readonly onSuspendedMail: (now: number) => void;
}

/**
 * Keeps the agenda filled from storage, and knows when to look there again: when something becomes due, when there is
 * room again for what had to be left, and otherwise never. One look at a time and one timer.
 */
export class Feed {
  readonly #parts: FeedParts;
  #open = false;
  #looking = false;
  #lookAgain = false;
  #look = Promise.resolve();
  /** More is due than the agenda had room for, whatever its destination. */
  #more = false;
  /** Storage failed: it is left alone until then. */
  #restUntil = 0;
  #cancelTimer: (() => void) | undefined;
  /** When the timer goes off. */
  #wakeAt = Number.POSITIVE_INFINITY;
  /** The earliest instant to come that was noted, also while what is due hides it from looks at storage. */
  #notedAt = Number.POSITIVE_INFINITY;
  /** Leases may be held until then that nobody knows of, since only the answer was lost. */
  #lostUntil = 0;
  #blockedMs = BLOCKED_FIRST_MS;

  constructor(parts: FeedParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#open = true;
    this.look();
  }

  /** Looks no more. Resolves when no look is under way: what that one takes is in the agenda then. */
  async stop(): Promise<void> {
    this.#open = false;
    this.#cancel();
    await this.#look;
  }

  /** Looks for due mail now; when a look is under way, once more after it. */
  look(): void {
    this.#lookAgain = true;
    if (!this.#open || this.#looking) return;
    this.#looking = true;
    this.#look = this.#lookWhileAsked();
  }

  /**
   * Something for this domain is due at this instant. Where it has to wait for room there is nothing to look for yet: ten
   * thousand messages for a destination that is down must not cost ten thousand looks.
   */
  noteDue(at: number, domain: string): void {
    const now = this.#now();
    if (at > now) this.#noteAt(at);
    else if (this.#hasRoomFor(domain, now)) this.wakeAt(now);
  }

  /** Overdue mail has been seen to, and there may be more. */
  noteProgress(): void {
    this.#blockedMs = BLOCKED_FIRST_MS;
    this.wakeAt(this.#now() + this.#blockedMs);
  }

  /** Mail that is due waits in storage for a suspended lane's time. */
  noteSuspended({ throttle: { suspendedUntil } }: Lane): void {
    if (suspendedUntil !== null && suspendedUntil > this.#now()) this.wakeAt(suspendedUntil);
  }

  /** A delivery for this lane has ended: what was left in storage for want of room may come now. */
  noteRoom(lane: Lane): void {
    // Asking storage costs: not before the lane runs dry.
    if (lane.waiting.length > 0 || !(this.#more || lane.passedOver)) return;
    if (limitOf(lane.throttle, this.#now()) === 0) return;
    lane.passedOver = false;
    this.look();
  }

  /** Looks at this instant at the latest. */
  wakeAt(at: number): void {
    if (!this.#open || at >= this.#wakeAt) return;
    this.#cancelTimer?.();
    this.#wakeAt = at;
    this.#cancelTimer = this.#parts.clock.after(Math.max(0, at - this.#now()), () => {
      this.#wakeAt = Number.POSITIVE_INFINITY;
      this.look();
    });
  }

  /** Storage failed at giving a lease: perhaps it gave it, and only the answer is lost. Looks when that has ended. */
  noteLost(): void {
    this.#lostUntil = this.#parts.custody.leaseUntil();
    this.#noteAt(this.#lostUntil);
  }

  /** Storage failed: leaves it alone for a while. */
  rest(): void {
    this.noteLost();
    this.#restUntil = this.#now() + PAUSE_MS;
    this.wakeAt(this.#restUntil);
  }

  #noteAt(at: number): void {
    this.#notedAt = Math.min(this.#notedAt, at);
    this.wakeAt(at);
  }

  /** Whether due mail for a domain could come now; if not, it is remembered for whoever makes room. */
  #hasRoomFor(domain: string, now: number): boolean {
    const { agenda, destinationOf } = this.#parts;
    const destination = destinationOf(domain);
    if (agenda.roomFor(destination, now) === 0) {
      const lane = agenda.lane(destination);
      lane.passedOver = true;
      this.noteSuspended(lane);
      return false;
    }
    if (agenda.room > 0) return true;
    this.#more = true;
    return false;
  }

  async #lookWhileAsked(): Promise<void> {
    try {
      while (this.#lookAgain && this.#open) {
        this.#lookAgain = false;
        await this.#lookOnce();
      }
    } finally {
      this.#looking = false;
    }
  }

  async #lookOnce(): Promise<void> {
    const now = this.#now();
    if (now < this.#restUntil) return this.wakeAt(this.#restUntil);
    this.#cancel();
    // What was noted at the first failure is over before what was lost at the latest one.
    if (this.#notedAt <= now) this.#notedAt = Number.POSITIVE_INFINITY;
    if (this.#lostUntil > now) this.#notedAt = Math.min(this.#notedAt, this.#lostUntil);
    const limit = Math.min(this.#parts.agenda.room, LOOK_MAX);
    if (limit === 0) {
      this.#more = true;
      return;
    }
    try {
      await this.#fill(now, limit);
      this.#parts.persistence.worked("lease");
    } catch (error) {
      this.#parts.persistence.failed("lease", error);
      this.rest();
    }
  }

  async #fill(now: number, limit: number): Promise<void> {
    const { storage, custody, holder } = this.#parts;
    const view = this.#viewAt(now);
    const until = custody.leaseUntil();
    const leases = await storage.lease(now, limit, { holder, until, skip: view.skip });
    // The answer took so long that somebody else may have them by now.
    if (until <= this.#now()) return this.look();
    const taken = this.#parts.take(leases);
    const dueAt = await storage.nextDue();
    const isLeft = dueAt !== null && dueAt <= now;
    this.#more = isLeft && taken > 0;
    if (taken > 0 || !isLeft) this.#blockedMs = BLOCKED_FIRST_MS;
    if (isLeft && leases.length === LOOK_MAX) this.wakeAt(now);
    if (isLeft) this.#waitBlocked(now, view.suspendedUntil());
    else this.wakeAt(Math.min(dueAt ?? Number.POSITIVE_INFINITY, this.#notedAt));
  }

  /** Due, but not to be had. Whoever gets room for it looks again; the pause is for what becomes due behind it. */
  #waitBlocked(now: number, suspendedUntil: number | undefined): void {
    this.wakeAt(Math.min(now + this.#blockedMs, this.#notedAt));
    this.#blockedMs = Math.min(2 * this.#blockedMs, BLOCKED_MAX_MS);
    if (suspendedUntil === undefined) return;
    this.wakeAt(suspendedUntil);
    this.#parts.onSuspendedMail(now);
  }

  /** One look's idea of who has how much room, and of who was passed over. */
  #viewAt(now: number) {
    const { agenda, destinationOf } = this.#parts;
    const room = new Map<string, number>();
    let suspendedUntil: number | undefined;
    const skip = (domain: string): boolean => {
      const destination = destinationOf(domain);
      const left = room.get(destination) ?? agenda.roomFor(destination, now);
      room.set(destination, left - 1);
      if (left > 0) return false;
      const lane = agenda.lane(destination);
      lane.passedOver = true;
      if (limitOf(lane.throttle, now) === 0) {
        const until = lane.throttle.suspendedUntil ?? now;
        suspendedUntil = Math.min(suspendedUntil ?? until, until);
      }
      return true;
    };
    return { skip, suspendedUntil: () => suspendedUntil };
  }

  #cancel(): void {
    this.#cancelTimer?.();
    this.#wakeAt = Number.POSITIVE_INFINITY;
  }

  #now(): number {
    return this.#parts.clock.now();
  }
}
