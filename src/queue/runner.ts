import type { Outcome } from "../relay/relay.ts";
import { failed, limitOf, openThrottle, succeeded } from "../schedule/throttle.ts";
import { CorruptError, type Lease, NotFoundError } from "../storage/storage.ts";
import { Agenda, type AgendaOptions, type Lane, type Waiting } from "./agenda.ts";
import { type Attempted, type AttemptParts, attempt } from "./attempt.ts";
import { Deadlines } from "./deadlines.ts";
import { deferSuspended } from "./suspended.ts";

export interface RunnerOptions extends AgendaOptions {
  /** After this long an attempt is ended; its lease lives longer than that. */
  readonly attemptMaxMs: number;
}

/** A lease outlives the attempt it is for by this much. */
const LEASE_MARGIN_MS = 5 * 60_000;
/** After storage failed, and while everything that is due belongs to destinations that take nothing. */
const PAUSE_MS = 1000;
/** Attempts whose settlement is not durable yet; beyond, no more are started until the disk comes along. */
const SETTLING_MAX = 2000;

/**
 * The only loop. It keeps the agenda filled from storage and starts what may start, at its own pace: new mail and
 * operators only change the schedule and `kick` it.
 */
export class Runner {
  readonly #parts: AttemptParts;
  readonly #options: RunnerOptions;
  readonly #agenda: Agenda;
  readonly #deadlines: Deadlines;
  readonly #running = new Set<Promise<void>>();
  #settling = 0;
  #started = false;
  #draining = false;
  #filling = false;
  #fillAgain = false;
  #reserved = 0;
  /** Storage may have more that is due than the agenda had room for. */
  #backlog = true;
  /** Everything that is due is for destinations that take nothing; looked at again after a pause. */
  #blocked = false;
  #cancelTimer: (() => void) | undefined;
  /** When the timer goes off. */
  #wakeAt = Number.POSITIVE_INFINITY;
  #flushedAt: number;

  constructor(parts: AttemptParts, options: RunnerOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#agenda = new Agenda(options);
    this.#deadlines = new Deadlines(parts.world.clock, options.attemptMaxMs);
    this.#flushedAt = parts.world.clock.now();
  }

  get delivering(): number {
    return this.#agenda.delivering;
  }

  get waiting(): number {
    return this.#agenda.waiting;
  }

  lanes(): Iterable<Lane> {
    return this.#agenda.lanes();
  }

  start(): void {
    this.#started = true;
    this.kick();
  }

  /** Until when a message that is taken at this instant is leased. */
  leaseUntil(): number {
    return this.#now() + this.#options.attemptMaxMs + LEASE_MARGIN_MS;
  }

  /**
   * Whether messages about to be written may come here at once, with their place kept; else they wait in storage for
   * their turn. Never waits: the `250` does not depend on the next hop.
   */
  reserve(domains: readonly string[]): boolean {
    if (!this.#started || this.#draining) return false;
    const now = this.#now();
    const hasRoom =
      this.#agenda.room - this.#reserved >= domains.length &&
      domains.every((domain) => this.#agenda.roomFor(this.#destination(domain), now) > 0);
    if (!hasRoom) {
      // It waits in storage; whoever finishes next looks there.
      this.#backlog = true;
      return false;
    }
    this.#reserved += domains.length;
    return true;
  }

  /** Gives back what `reserve` kept, with what has come of it: nothing when the write failed. */
  offer(reserved: number, leases: readonly Lease[]): void {
    this.#reserved -= reserved;
    this.#add(leases);
    this.#dispatch();
  }

  /** The schedule has changed: look again. */
  kick(): void {
    void this.#fill();
  }

  /** Something is due at this instant that may be earlier than anything known so far. */
  noteDue(at: number): void {
    // While what is due cannot be had, looking again for each new message would cost the more the more there is.
    if (!this.#started || this.#blocked || at >= this.#wakeAt) return;
    this.#sleep(Math.max(0, at - this.#now()));
  }

  /** An operator wants it tried now: suspended destinations are trusted again, flushed mail gets its time. */
  flushed(): void {
    this.#flushedAt = this.#now();
    for (const lane of this.#agenda.lanes()) this.#resume(lane);
    this.kick();
  }

  /** The same for the destination of one domain. */
  resume(domain: string): void {
    this.#resume(this.#agenda.lane(this.#destination(domain)));
    this.kick();
  }

  /**
   * Starts nothing more, gives back what waits, and resolves when all that runs is settled; what still runs at `abort`
   * is broken off.
   */
  async drain(abort: AbortSignal): Promise<void> {
    this.#draining = true;
    this.#cancelTimer?.();
    const onAbort = (): void => this.#deadlines.stop();
    if (abort.aborted) onAbort();
    else abort.addEventListener("abort", onAbort, { once: true });
    await this.#giveBack([...this.#agenda.lanes()].flatMap((lane) => this.#agenda.clear(lane)));
    while (this.#running.size > 0) await Promise.allSettled([...this.#running]);
  }

  #resume(lane: Lane): void {
    if (lane.throttle.suspendedUntil === null) return;
    Object.assign(lane.throttle, openThrottle(this.#options.throttle));
    this.#agenda.wake(lane, this.#now());
  }

  #add(leases: readonly Lease[]): void {
    const now = this.#now();
    for (const { id, domain } of leases) {
      this.#agenda.add(this.#destination(domain), { id, domain, takenAt: now }, now);
    }
  }

  /** Leases what is due until the agenda is full; one at a time, and once more when somebody asked meanwhile. */
  async #fill(): Promise<void> {
    this.#fillAgain = true;
    if (this.#filling || !this.#started) return;
    this.#filling = true;
    try {
      while (this.#fillAgain && !this.#draining) {
        this.#fillAgain = false;
        await this.#fillOnce();
      }
    } catch {
      // Storage has told of its trouble itself.
      this.#sleep(PAUSE_MS);
    } finally {
      this.#filling = false;
    }
  }

  async #fillOnce(): Promise<void> {
    const now = this.#now();
    const limit = this.#agenda.room - this.#reserved;
    if (limit <= 0) return;
    const { storage, holder } = this.#parts;
    const until = this.leaseUntil();
    const leases = await storage.lease(now, limit, { holder, until, skip: this.#skipFull(now) });
    if (this.#draining) return await this.#giveBack(leases);
    this.#add(leases);
    this.#dispatch();
    const dueAt = await storage.nextDue();
    this.#backlog = dueAt !== null && dueAt <= now;
    this.#blocked = this.#backlog && leases.length === 0;
    if (dueAt === null) return;
    if (dueAt > now) return this.#sleep(dueAt - now);
    // Due, but not to be had: its destinations are full or suspended. Room for them kicks; time does the rest.
    await deferSuspended(this.#parts, {
      now,
      until,
      flushedAt: this.#flushedAt,
      lane: (domain) => this.#agenda.lane(this.#destination(domain)),
    });
    this.#sleep(PAUSE_MS);
  }

  #skipFull(now: number): (domain: string) => boolean {
    const room = new Map<string, number>();
    return (domain) => {
      const destination = this.#destination(domain);
      const left = room.get(destination) ?? this.#agenda.roomFor(destination, now);
      room.set(destination, left - 1);
      return left <= 0;
    };
  }

  #sleep(delayMs: number): void {
    this.#cancelTimer?.();
    if (this.#draining) return;
    this.#wakeAt = this.#now() + delayMs;
    this.#cancelTimer = this.#parts.world.clock.after(delayMs, () => {
      this.#wakeAt = Number.POSITIVE_INFINITY;
      this.kick();
    });
  }

  #dispatch(): void {
    while (!this.#draining && this.#settling < SETTLING_MAX) {
      const next = this.#agenda.next(this.#now());
      if (next === undefined) return;
      const run = this.#deliver(next.lane, next.waiting).finally(() => this.#running.delete(run));
      this.#running.add(run);
    }
  }

  async #deliver(lane: Lane, waiting: Waiting): Promise<void> {
    const settling = await this.#attempt(lane, waiting);
    this.#agenda.done(lane, this.#now());
    this.#dispatch();
    this.#fillWhenLow(lane);
    if (settling === undefined) return;
    this.#settling += 1;
    await settling.settled.catch((error: unknown) => this.#tell(waiting.id, error));
    this.#settling -= 1;
    if (this.#settling === SETTLING_MAX - 1) this.#dispatch();
  }

  async #attempt(lane: Lane, waiting: Waiting): Promise<Attempted | undefined> {
    const { destination } = lane;
    try {
      const attempted = await attempt({ ...waiting, destination }, this.#parts, this.#deadlines);
      if (!this.#deadlines.stopped) this.#learn(lane, attempted.outcomes);
      return attempted;
    } catch (error) {
      await this.#cannotStart(waiting, error);
      return undefined;
    }
  }

  /** Asking storage costs: only when this lane ran dry, and there may be more than what is here. */
  #fillWhenLow(lane: Lane): void {
    if (lane.waiting.length === 0 && this.#backlog) this.kick();
  }

  /** Gone or damaged messages need nothing more; others stay leased until the lease ends, or are given back. */
  async #cannotStart(waiting: Waiting, error: unknown): Promise<void> {
    if (error instanceof NotFoundError || error instanceof CorruptError) return;
    this.#tell(waiting.id, error);
    await this.#giveBack([waiting]);
    this.#sleep(PAUSE_MS);
  }

  async #giveBack(waiting: readonly { readonly id: string }[]): Promise<void> {
    const ids = waiting.map(({ id }) => id);
    await this.#parts.storage.release(ids, this.#parts.holder).catch(() => undefined);
  }

  #tell(id: string, error: unknown): void {
    if (error instanceof NotFoundError) return;
    const reason = error instanceof Error ? error.message : String(error);
    const operation = `attempt ${id}`;
    this.#parts.emit({ kind: "storage", state: "failing", operation, reason });
  }

  /** Only what concerns the destination as a whole counts against it. */
  #learn(lane: Lane, outcomes: readonly Outcome[]): void {
    const now = this.#now();
    const trouble = siteFailure(outcomes);
    const before = limitOf(lane.throttle, now);
    const transition =
      trouble === undefined ? succeeded(lane.throttle) : failed(lane.throttle, now, trouble);
    if (transition === "suspended") this.#suspended(lane, now);
    if (transition !== undefined) {
      const { destination } = lane;
      const reason = trouble ?? "";
      this.#parts.emit({ kind: "destination", destination, state: transition, reason });
    }
    if (transition === "resumed" || limitOf(lane.throttle, now) > before) {
      this.#agenda.wake(lane, now);
    }
    if (transition === "resumed") this.kick();
  }

  #suspended(lane: Lane, now: number): void {
    void this.#giveBack(this.#agenda.clear(lane));
    const until = lane.throttle.suspendedUntil ?? now;
    this.#parts.world.clock.after(until - now, () => this.kick());
  }

  #destination(domain: string): string {
    return this.#parts.relay.destinationOf(domain);
  }

  #now(): number {
    return this.#parts.world.clock.now();
  }
}

/** Why a destination as a whole failed: it was not reached, or broke the conversation off; `undefined` when it did not. */
export function siteFailure(outcomes: readonly Outcome[]): string | undefined {
  const [first] = outcomes;
  if (first === undefined) return undefined;
  const isSite = ({ kind, remote, reply }: Outcome): boolean =>
    kind === "deferred" && (remote === undefined || reply.enhanced.startsWith("4.4."));
  return outcomes.every(isSite) ? first.reply.text : undefined;
}
