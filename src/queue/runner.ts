import type { Outcome } from "../relay/relay.ts";
import { failed, succeeded } from "../schedule/throttle.ts";
import { CorruptError, type Lease, NotFoundError } from "../storage/storage.ts";
import { Agenda, type AgendaOptions, type Lane, sharedWindow, type Waiting } from "./agenda.ts";
import { type Attempted, type AttemptParts, attempt } from "./attempt.ts";
import { Custody } from "./custody.ts";
import { Deadlines } from "./deadlines.ts";
import { Feed } from "./feed.ts";
import { listen } from "./news.ts";
import { PAUSE_MS, Persistence } from "./persistence.ts";
import { Sharing } from "./sharing.ts";
import { deferSuspended } from "./suspended.ts";

export interface RunnerOptions extends AgendaOptions {
  /** After this long an attempt is ended. */
  readonly attemptMaxMs: number;
  /** After this long without a sign of life others take over what this process has. */
  readonly leaseMs?: number;
}

/** Attempts whose settlement is not durable yet; beyond, no more are started until the disk comes along. */
export const SETTLING_MAX = 2000;
/** A message that cannot be read is left alone for so long; it stays pending and no attempt is counted. */
export const UNREADABLE_RETRY_MS = 60_000;
/** How long storage may take, once deliveries are broken off, to record what they did: a sick disk answers never. */
const LAST_RECORD_MS = 2000;

/**
 * The only loop. It keeps the agenda filled from storage and starts what may start, at its own pace: new mail and
 * operators only change the schedule and tell of it.
 */
export class Runner {
  readonly #parts: AttemptParts;
  readonly #agenda: Agenda;
  readonly #deadlines: Deadlines;
  readonly #custody: Custody;
  readonly #persistence: Persistence;
  readonly #feed: Feed;
  readonly #sharing: Sharing | undefined;
  readonly #running = new Set<Promise<void>>();
  readonly #stopListening = new AbortController();
  #settling = 0;
  #started = false;
  #draining = false;
  #isDeferring = false;
  #flushedAt: number;

  constructor(parts: AttemptParts, options: RunnerOptions) {
    const { storage, holder } = parts;
    const { clock } = parts.world;
    this.#persistence = new Persistence(clock, parts.emit);
    this.#parts = {
      ...parts,
      settle: (...change) =>
        this.#persistence.untilDone("settle", async () => await parts.settle(...change)),
    };
    this.#sharing = this.#shareLimits(options);
    const window = storage.isShared ? sharedWindow(options) : options;
    this.#agenda = new Agenda(window, this.#sharing && ((lane) => this.#sharing?.note(lane)));
    this.#deadlines = new Deadlines(clock, options.attemptMaxMs);
    this.#custody = new Custody({
      storage,
      clock,
      holder,
      ...(options.leaseMs !== undefined && { leaseMs: options.leaseMs }),
      deadlines: this.#deadlines,
      persistence: this.#persistence,
      onReturned: () => this.#feed.look(),
    });
    this.#feed = new Feed({
      storage,
      clock,
      holder,
      agenda: this.#agenda,
      custody: this.#custody,
      persistence: this.#persistence,
      destinationOf: (domain) => this.#destination(domain),
      take: (leases) => this.#take(leases),
      onSuspendedMail: (now) => this.#deferSuspended(now),
    });
    this.#flushedAt = clock.now();
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

  /** Whether this process has the message leased. */
  has(id: string): boolean {
    return this.#custody.has(id);
  }

  /** Whether the relay has the message at this moment, or had it and that is not settled yet. */
  isDelivering(id: string): boolean {
    return this.#custody.isDelivering(id);
  }

  start(): void {
    if (this.#draining) return;
    this.#started = true;
    this.#feed.start();
    const { storage, world } = this.#parts;
    const parts = { storage, clock: world.clock, onNews: () => this.#feed.look() };
    this.#track(listen(parts, this.#stopListening.signal));
  }

  /** Until when a message that is taken at this instant is leased. */
  leaseUntil(): number {
    return this.#custody.leaseUntil();
  }

  /**
   * Whether messages about to be written may come here at once, with their place kept; else they wait in storage for
   * their turn. Never waits: the `250` does not depend on the next hop.
   */
  reserve(domains: readonly string[]): boolean {
    if (!this.#started || this.#draining) return false;
    return this.#agenda.reserve(this.#destinations(domains), this.#now());
  }

  /** Fills the places that `reserve` kept, with messages that are leased until then. */
  offer(leases: readonly Lease[], until: number): void {
    this.#agenda.unreserve(this.#destinations(leases.map(({ domain }) => domain)));
    const ids = leases.map(({ id }) => id);
    // A lease that is over is not given back: by now there may be another one, which that would end.
    if (until <= this.#now()) this.#feed.look();
    else if (this.#draining) this.#giveBack(ids);
    else if (this.#custody.isGoodUntil(until)) this.#take(leases);
    else this.#track(this.#custody.giveBack(ids).then(() => this.#feed.look()));
  }

  /** Gives places back that `reserve` kept. Others may have been sent away for want of them. */
  unreserve(domains: readonly string[]): void {
    this.#agenda.unreserve(this.#destinations(domains));
    this.#feed.look();
  }

  /** A write failed, or was done and only its answer lost: then the message is leased to this process, or due. */
  noteLost(): void {
    this.#feed.noteLost();
    this.#feed.look();
  }

  /** Something for this domain is due at this instant. */
  noteDue(at: number, domain: string): void {
    this.#feed.noteDue(at, domain);
  }

  /** The schedule has changed: looks again soon, once for all changes of this moment. */
  look(): void {
    this.#feed.wakeAt(this.#now());
  }

  /** An operator wants everything tried now: suspended destinations are trusted again, flushed mail gets its time. */
  flushed(): void {
    this.#flushedAt = this.#now();
    for (const lane of this.#agenda.lanes()) this.#trust(lane);
    this.look();
  }

  /** The same for the destination of one domain. */
  resume(domain: string): void {
    const lane = this.#agenda.known(this.#destination(domain));
    if (lane !== undefined) this.#trust(lane);
    this.look();
  }

  /**
   * Starts nothing more, gives back what waits, and resolves when all that runs is settled; what still runs at `abort`
   * is broken off.
   */
  async drain(abort: AbortSignal): Promise<void> {
    this.#draining = true;
    this.#stopListening.abort();
    const late = Promise.withResolvers<void>();
    let cancelLate = (): void => undefined;
    const onAbort = (): void => {
      this.#deadlines.stop();
      this.#persistence.stop();
      cancelLate = this.#parts.world.clock.after(LAST_RECORD_MS, late.resolve);
    };
    if (abort.aborted) onAbort();
    else abort.addEventListener("abort", onAbort, { once: true });
    await Promise.race([this.#ended(), late.promise]);
    cancelLate();
    this.#custody.stop();
    this.#sharing?.halt();
    abort.removeEventListener("abort", onAbort);
  }

  /** Also a look at storage that is under way: what it takes goes back with all that waits. */
  async #ended(): Promise<void> {
    await this.#feed.stop();
    const waiting = [...this.#agenda.lanes()].flatMap((lane) => this.#agenda.clear(lane));
    this.#giveBack(waiting.map(({ id }) => id));
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    await this.#sharing?.stop();
  }

  /** Puts leased messages on the agenda, and returns how many. */
  #take(leases: readonly Lease[]): number {
    const now = this.#now();
    const returned: string[] = [];
    let taken = 0;
    for (const { id, domain } of leases) {
      if (!this.#custody.take(id)) continue;
      const destination = this.#destination(domain);
      // Suspended since it was leased or its place was kept: here it would fill the one place of the next try.
      if (this.#agenda.roomFor(destination, now) === 0) returned.push(id);
      else {
        this.#agenda.add(destination, { id, domain, takenAt: now }, now);
        taken += 1;
      }
    }
    this.#giveBack(returned);
    this.#dispatch();
    return taken;
  }

  /** Where storage counts for all nodes. */
  #shareLimits({ throttle, deliveriesMax }: RunnerOptions): Sharing | undefined {
    const { storage, relay, world } = this.#parts;
    if (storage.places === undefined) return undefined;
    return new Sharing({
      places: storage.places,
      parked: relay.parked,
      clock: world.clock,
      persistence: this.#persistence,
      limitMax: throttle.limitMax,
      deliveriesMax,
      onChange: (lane) => {
        this.#agenda.placesChanged(lane, this.#now());
        this.#dispatch();
      },
    });
  }

  #trust(lane: Lane): void {
    if (!this.#agenda.trust(lane, this.#now())) return;
    this.#tellDestination(lane, "resumed", "an operator asked");
  }

  #dispatch(): void {
    while (!this.#draining && this.#settling < SETTLING_MAX) {
      const next = this.#agenda.next(this.#now());
      if (next === undefined) return;
      this.#track(this.#deliver(next.lane, next.waiting));
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  async #deliver(lane: Lane, waiting: Waiting): Promise<void> {
    this.#custody.begin(waiting.id);
    const attempted = await this.#attempt(lane, waiting);
    this.#settling += 1;
    this.#agenda.done(lane, this.#now());
    this.#feed.noteRoom(lane);
    this.#dispatch();
    await attempted?.settled.catch((error: unknown) => this.#tell(waiting.id, error));
    this.#custody.end(waiting.id);
    this.#settling -= 1;
    if (this.#settling === SETTLING_MAX - 1) this.#dispatch();
  }

  async #attempt(lane: Lane, waiting: Waiting): Promise<Attempted | undefined> {
    const { destination } = lane;
    try {
      const attempted = await attempt({ ...waiting, destination }, this.#parts, this.#deadlines);
      this.#persistence.worked("read");
      if (attempted?.evidence) this.#learn(lane, attempted.evidence);
      return attempted;
    } catch (error) {
      if (isGone(error)) this.#custody.end(waiting.id);
      else await this.#setAside(waiting, error);
      return undefined;
    }
  }

  /** What cannot be read now may be read later; it must neither stop others nor be asked for again and again (P6). */
  async #setAside({ id, domain }: Waiting, error: unknown): Promise<void> {
    const { storage, holder } = this.#parts;
    this.#persistence.failed("read", error);
    const due = this.#now() + UNREADABLE_RETRY_MS;
    try {
      // With all of the storage in trouble nothing is known against the message.
      if (storage.refusal() !== undefined) throw error;
      await storage.settle(id, { due }, { holder });
      this.#feed.noteDue(due, domain);
    } catch {
      this.#feed.rest();
      this.#giveBack([id]);
    }
  }

  /** The mail is due in storage then, for whoever looks. */
  #giveBack(ids: readonly string[]): void {
    if (ids.length === 0) return;
    const until = this.#now() + PAUSE_MS;
    const look = (): void => {
      // Nothing else tells that storage took long to have it back.
      if (this.#now() >= until) this.#feed.look();
    };
    this.#track(this.#custody.giveBack(ids).then(look));
  }

  #deferSuspended(now: number): void {
    if (this.#isDeferring) return;
    this.#isDeferring = true;
    this.#track(
      this.#deferOverdue(now).finally(() => {
        this.#isDeferring = false;
      }),
    );
  }

  async #deferOverdue(now: number): Promise<void> {
    try {
      const count = await deferSuspended(this.#parts, {
        now,
        flushedAt: this.#flushedAt,
        custody: this.#custody,
        lane: (domain) => this.#agenda.known(this.#destination(domain)),
      });
      if (count > 0) this.#feed.noteProgress();
    } catch (error) {
      this.#persistence.failed("lease", error);
      this.#feed.rest();
    }
  }

  #tell(id: string, error: unknown): void {
    if (isGone(error)) return;
    const reason = error instanceof Error ? error.message : String(error);
    const text = `what was done with ${id} could not be recorded: ${reason}`;
    this.#parts.emit({ kind: "lifecycle", what: "warning", text });
    // A lease that was lost is over, and nothing else tells that the message waits in storage again.
    this.#feed.look();
  }

  /** Only what concerns the destination as a whole counts against it. */
  #learn(lane: Lane, outcomes: readonly Outcome[]): void {
    const now = this.#now();
    const trouble = siteFailure(outcomes);
    const transition =
      trouble === undefined ? succeeded(lane.throttle) : failed(lane.throttle, now, trouble);
    if (transition === undefined) return;
    this.#tellDestination(lane, transition, trouble ?? "");
    if (transition === "resumed") this.#feed.look();
    else this.#suspend(lane);
  }

  /** What waits goes back to storage, for as long as the destination is left alone. */
  #suspend(lane: Lane): void {
    const waiting = this.#agenda.clear(lane);
    this.#giveBack(waiting.map(({ id }) => id));
    this.#feed.noteSuspended(lane);
  }

  #tellDestination(lane: Lane, state: "suspended" | "resumed", reason: string): void {
    this.#parts.emit({ kind: "destination", destination: lane.destination, state, reason });
  }

  #destinations(domains: readonly string[]): readonly string[] {
    return domains.map((domain) => this.#destination(domain));
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

/** Removed, or damaged and moved aside, which storage has told of: nothing is left to do. */
function isGone(error: unknown): boolean {
  return error instanceof NotFoundError || error instanceof CorruptError;
}
