import type { Clock } from "../lib/world.ts";
import type { QueueStorage } from "../storage/storage.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Persistence } from "./persistence.ts";

/** How long a lease lasts, unless told: after a crash, others take the mail over this late at the latest. */
export const LEASE_MS: number = 5 * 60_000;
/** How often custody is looked after while there is any, or more often when leases are short. */
const TICK_MS = 60_000;

export interface CustodyParts {
  readonly storage: Pick<QueueStorage, "renew" | "release">;
  readonly clock: Clock;
  readonly holder: string;
  readonly leaseMs?: number;
  readonly deadlines: Deadlines;
  readonly persistence: Persistence;
  /** A message that was leased once more while it was here is due in storage again. */
  readonly onReturned: () => void;
}

/**
 * The messages that this process has leased, from the lease to the settlement. As long as one is here its lease is
 * renewed, however long it waits for its turn or for the disk; and a message that is here is not taken twice. One
 * timer for all, and none when nothing is here.
 */
export class Custody {
  readonly #parts: CustodyParts;
  readonly #leaseMs: number;
  /** How old a lease is when it is renewed. */
  readonly #renewMs: number;
  readonly #tickMs: number;
  /** By id; true once the relay has it. */
  readonly #messages = new Map<string, boolean>();
  /** On their way back: a lease that is got meanwhile may be the one that storage takes back. */
  readonly #returning = new Set<string>();
  /** Leased once more while they were here, or on their way back. */
  readonly #twice = new Set<string>();
  #cancelTick: (() => void) | undefined;
  #sinceRenewalMs = 0;
  /** When the timer was set or went off. */
  #tickedAt = 0;

  constructor(parts: CustodyParts) {
    this.#parts = parts;
    this.#leaseMs = parts.leaseMs ?? LEASE_MS;
    this.#renewMs = (this.#leaseMs * 4) / 15;
    // A renewal that fails is tried ten times more before the lease ends.
    this.#tickMs = Math.min(TICK_MS, this.#leaseMs / 15);
  }

  /** Until when to lease what is taken at this instant. */
  leaseUntil(): number {
    return this.#parts.clock.now() + this.#leaseMs;
  }

  /** Whether so much of a lease is left that it is renewed before it ends: what is done under one that is over does not count. */
  isGoodUntil(until: number): boolean {
    return until - this.#parts.clock.now() >= this.#leaseMs / 2;
  }

  /**
   * False when it is here already: a lease that was lost and came back, or one that a flush made possible while the
   * settlement was on its way to the disk. Such a lease is given back when the message ends here. So is one of a message
   * that is on its way back.
   */
  take(id: string): boolean {
    if (this.#messages.has(id) || this.#returning.has(id)) {
      this.#twice.add(id);
      return false;
    }
    this.#messages.set(id, false);
    if (this.#cancelTick === undefined) this.#tickSoon();
    return true;
  }

  has(id: string): boolean {
    return this.#messages.has(id);
  }

  /** The message is about to be given to the relay. */
  begin(id: string): void {
    this.#messages.set(id, true);
  }

  /** Whether the relay has the message, or had it and the settlement is not durable yet. */
  isDelivering(id: string): boolean {
    return this.#messages.get(id) ?? false;
  }

  /** The message is settled or gone. */
  end(id: string): void {
    this.#messages.delete(id);
    if (this.#twice.has(id)) void this.giveBack([id]).then(this.#parts.onReturned);
  }

  /**
   * Gives leases back, and resolves when storage has them. Never rejects: what storage does not take back before the end
   * of this process comes back by itself when the lease ends.
   */
  async giveBack(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    for (const id of ids) {
      this.#messages.delete(id);
      this.#twice.delete(id);
      this.#returning.add(id);
    }
    const { storage, holder, persistence } = this.#parts;
    const release = async () => await storage.release(ids, holder);
    await persistence.untilDone("release", release).catch(() => undefined);
    for (const id of ids) this.#returning.delete(id);
    await this.#giveBackAgain(ids.filter((id) => this.#twice.has(id)));
  }

  async #giveBackAgain(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await this.giveBack(ids);
    this.#parts.onReturned();
  }

  /** Looks after nothing any more. */
  stop(): void {
    this.#cancelTick?.();
  }

  readonly #tick = (): void => {
    const { clock, deadlines } = this.#parts;
    this.#cancelTick = undefined;
    // It stood still for longer than its leases last: others have this mail now, and what is under way here is not.
    if (clock.now() - this.#tickedAt >= this.#leaseMs) deadlines.breakOff();
    deadlines.sweep();
    this.#sinceRenewalMs += this.#tickMs;
    if (this.#messages.size === 0) return;
    this.#tickSoon();
    if (this.#sinceRenewalMs >= this.#renewMs) void this.#renew();
  };

  #tickSoon(): void {
    const { clock } = this.#parts;
    this.#tickedAt = clock.now();
    this.#cancelTick = clock.after(this.#tickMs, this.#tick);
  }

  async #renew(): Promise<void> {
    const { storage, holder } = this.#parts;
    const ids = [...this.#messages.keys()];
    this.#sinceRenewalMs = 0;
    await storage.renew(ids, holder, this.leaseUntil()).catch(() => {
      // With the next tick again: every lease that ends here is a message that somebody else may deliver, too.
      this.#sinceRenewalMs = this.#renewMs;
    });
  }
}
