import {
  limitOf,
  openThrottle,
  type Throttle,
  type ThrottleOptions,
} from "../schedule/throttle.ts";

/** A leased message that waits for its turn. */
export interface Waiting {
  readonly id: string;
  readonly domain: string;
  /** When this process took it. */
  readonly takenAt: number;
}

/** One destination: what waits for it, what is under way, and how far it is trusted. */
export interface Lane {
  readonly destination: string;
  readonly waiting: Waiting[];
  /** Places kept for messages that are being written. */
  reserved: number;
  delivering: number;
  /** Deliveries that may be under way at once as far as other nodes are concerned; what they share is not decided here. */
  places: number;
  readonly throttle: Throttle;
  /** Stands in the round of lanes that can start a delivery. */
  queued: boolean;
  /** Due mail was left in storage because this lane had no room for it. */
  passedOver: boolean;
}

export interface AgendaOptions {
  /** Deliveries at once, all destinations together. */
  readonly deliveriesMax: number;
  /** Messages that wait here, all destinations together: a window onto the store, not a mirror of it (P8). */
  readonly waitingMax: number;
  /** Messages that wait here for one destination. */
  readonly waitingPerDestinationMax: number;
  readonly throttle: ThrottleOptions;
}

/**
 * Where nodes share a queue, each has in memory at most so many times what it may have under way at a destination. Less than
 * that would make it wait for the store.
 */
const SHARED_TURNS = 5;

/** The window onto a store out of which other nodes deliver too: what is in the memory of one no other can deliver. */
export function sharedWindow(options: AgendaOptions): AgendaOptions {
  const { waitingPerDestinationMax: most, throttle, deliveriesMax } = options;
  const soon = SHARED_TURNS * Math.min(throttle.limitMax, deliveriesMax);
  return { ...options, waitingPerDestinationMax: Math.min(most, soon) };
}

/** Destinations that are remembered; idle ones beyond go first. */
export const LANES_MAX = 10_000;

/**
 * The bounded window of messages about to be delivered, one lane for each destination. Lanes take turns, and within a
 * lane the message that came first is first. A lane that is full, suspended or slow takes nothing away from the others but its
 * own share (P9).
 */
export class Agenda {
  readonly #options: AgendaOptions;
  readonly #onPlaces: ((lane: Lane) => void) | undefined;
  readonly #lanes = new Map<string, Lane>();
  readonly #round: Lane[] = [];
  #delivering = 0;
  #waiting = 0;
  #reserved = 0;

  /** With `onPlaces` a lane has no places at first, and whoever is told that it has too few, or too many, changes that. */
  constructor(options: AgendaOptions, onPlaces?: (lane: Lane) => void) {
    this.#options = options;
    this.#onPlaces = onPlaces;
  }

  get delivering(): number {
    return this.#delivering;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** How many more may wait. */
  get room(): number {
    return Math.max(0, this.#options.waitingMax - this.#waiting - this.#reserved);
  }

  /** How many more may wait for one destination at `now`; none while it is suspended. */
  roomFor(destination: string, now: number): number {
    const lane = this.#lanes.get(destination);
    if (lane === undefined) return this.#options.waitingPerDestinationMax;
    const limit = limitOf(lane.throttle, now);
    const isTrusted = lane.throttle.suspendedUntil === null;
    const most = isTrusted ? this.#options.waitingPerDestinationMax : limit;
    return Math.max(0, most - lane.waiting.length - lane.reserved);
  }

  /** Keeps places for messages that are about to come, one for each destination named, for all or for none. */
  reserve(destinations: readonly string[], now: number): boolean {
    if (this.room < destinations.length) return false;
    for (const [count, destination] of destinations.entries()) {
      if (this.roomFor(destination, now) === 0) {
        this.unreserve(destinations.slice(0, count));
        return false;
      }
      const lane = this.lane(destination);
      lane.reserved += 1;
      this.#reserved += 1;
      // By the time that the message is stored it may have its place.
      if (lane.delivering + lane.reserved > lane.places) this.#onPlaces?.(lane);
    }
    return true;
  }

  /** Gives places back that `reserve` kept. */
  unreserve(destinations: readonly string[]): void {
    for (const destination of destinations) this.lane(destination).reserved -= 1;
    this.#reserved -= destinations.length;
  }

  add(destination: string, waiting: Waiting, now: number): void {
    const lane = this.lane(destination);
    lane.waiting.push(waiting);
    this.#waiting += 1;
    this.#enqueue(lane, now);
  }

  /** The next message that may start at `now`, if any: it counts as delivering until `done`. */
  next(now: number): { readonly lane: Lane; readonly waiting: Waiting } | undefined {
    while (this.#delivering < this.#options.deliveriesMax) {
      const lane = this.#round.shift();
      if (lane === undefined) return undefined;
      lane.queued = false;
      if (!canStart(lane, now) || lane.delivering >= lane.places) continue;
      const waiting = lane.waiting.shift();
      if (waiting === undefined) continue;
      this.#waiting -= 1;
      this.#delivering += 1;
      lane.delivering += 1;
      this.#enqueue(lane, now);
      return { lane, waiting };
    }
    return undefined;
  }

  done(lane: Lane, now: number): void {
    lane.delivering -= 1;
    this.#delivering -= 1;
    if (lane.delivering >= lane.places) this.#onPlaces?.(lane);
    this.#enqueue(lane, now);
  }

  /** The lane has other places than before. */
  placesChanged(lane: Lane, now: number): void {
    this.#enqueue(lane, now);
  }

  /** Trusts a destination again as if nothing were known of it. False when it was not suspended. */
  trust(lane: Lane, now: number): boolean {
    if (lane.throttle.suspendedUntil === null) return false;
    Object.assign(lane.throttle, openThrottle(this.#options.throttle));
    this.#enqueue(lane, now);
    return true;
  }

  /** Takes back everything that waits in a lane. */
  clear(lane: Lane): readonly Waiting[] {
    const taken = lane.waiting.splice(0);
    this.#waiting -= taken.length;
    return taken;
  }

  /** What is known of a destination, if anything. */
  known(destination: string): Lane | undefined {
    return this.#lanes.get(destination);
  }

  /** What is known of a destination; from here on it is remembered. */
  lane(destination: string): Lane {
    const known = this.#lanes.get(destination);
    if (known !== undefined) return known;
    if (this.#lanes.size >= LANES_MAX) this.#forgetIdle();
    const throttle = openThrottle(this.#options.throttle);
    const lane: Lane = {
      destination,
      waiting: [],
      reserved: 0,
      delivering: 0,
      places: this.#onPlaces === undefined ? Number.POSITIVE_INFINITY : 0,
      throttle,
      queued: false,
      passedOver: false,
    };
    this.#lanes.set(destination, lane);
    return lane;
  }

  lanes(): Iterable<Lane> {
    return this.#lanes.values();
  }

  #enqueue(lane: Lane, now: number): void {
    if (lane.queued || !canStart(lane, now)) return;
    if (lane.delivering >= lane.places) this.#onPlaces?.(lane);
    if (lane.delivering >= lane.places) return;
    lane.queued = true;
    this.#round.push(lane);
  }

  /**
   * Forgets half of what is remembered, so that this is rare. What is known of destinations in trouble goes last: those are
   * the ones worth knowing.
   */
  #forgetIdle(): void {
    const idle = [...this.#lanes.values()].filter(isIdle);
    const inTrouble = idle.filter(({ throttle }) => throttle.lastFailure !== null);
    const well = idle.filter(({ throttle }) => throttle.lastFailure === null);
    const excess = this.#lanes.size - LANES_MAX / 2;
    for (const { destination } of [...well, ...inTrouble].slice(0, excess)) {
      this.#lanes.delete(destination);
    }
  }
}

function isIdle({ delivering, reserved, waiting }: Lane): boolean {
  return delivering === 0 && reserved === 0 && waiting.length === 0;
}

function canStart(lane: Lane, now: number): boolean {
  return lane.waiting.length > 0 && lane.delivering < limitOf(lane.throttle, now);
}
