import type { Clock } from "../lib/world.ts";
import type { ParkedConnections } from "../relay/relay.ts";
import { capOf } from "../schedule/shares.ts";
import { limitOf } from "../schedule/throttle.ts";
import type { Claim, Granted, Places } from "../storage/places.ts";
import type { Lane } from "./agenda.ts";
import type { Persistence } from "./persistence.ts";

/** After so long without a sign of life the places of a node are free for the others. */
export const PLACES_TTL_MS = 15_000;
/** A node counts on its places for this much less, so that it is never the last one who does. */
const MARGIN_MS = 1000;
/** Who waits for places asks so often. */
const SHORT_MS = 100;
/** Who has more than others might leave him asks so often whether they need some. */
const BUSY_MS = 500;
const QUIET_MS = 5000;
/** Less than this share of the limit is taken from nobody while there are no more nodes. */
const NODES_USUAL = 8;
/** What was wanted is kept for so long: mail comes in bursts. */
const RECENT_MS = 2000;
/** Claims of one step. */
const CLAIMS_MAX = 200;

/** What this node has at one destination. */
interface Standing {
  lane: Lane;
  held: number;
  /** When it last asked with success. */
  heldAt: number;
  /** What it may have of that, as the others need some. */
  cap: number;
  /** The most that was wanted lately, and since when. */
  recent: number;
  recentSince: number;
  /** When to ask again. */
  nextAt: number;
  /** More was asked for than there was. */
  isShort: boolean;
  isAsking: boolean;
  isDismissing: boolean;
}

export interface SharingParts {
  readonly places: Places;
  readonly parked: ParkedConnections | undefined;
  readonly clock: Clock;
  readonly persistence: Persistence;
  /** Deliveries at once to one destination, all nodes together. */
  readonly limitMax: number;
  /** Deliveries at once of this node, to whatever destination: it has no use for more places. */
  readonly deliveriesMax: number;
  /** A lane has other places than before. */
  readonly onChange: (lane: Lane) => void;
}

/**
 * This node's places at destinations, where nodes share the limits. They are asked for as soon as a lane has mail, in batches, and
 * kept while there are deliveries or connections to use them. What another node has too little of is given back as
 * deliveries end, and the connections that stood there are closed first.
 */
export class Sharing {
  readonly #parts: SharingParts;
  readonly #standings = new Map<string, Standing>();
  readonly #due = new Set<Standing>();
  #asking: Promise<void> | undefined;
  #cancelTick: (() => void) | undefined;
  /** Storage failed: it is left alone until then. */
  #restUntil = 0;
  #isStopped = false;

  constructor(parts: SharingParts) {
    this.#parts = parts;
  }

  /** A lane has more to do than places to do it, or a delivery has ended on a place that others wait for. */
  note(lane: Lane): void {
    const standing = this.#standingOf(lane);
    const { held, cap, isShort, isAsking } = standing;
    if (isAsking || this.#isStopped) return;
    if (held > cap) this.#giveBack(standing);
    else if (!isShort && this.#wants(lane) > held) this.#ask(standing);
  }

  /** Gives everything back that is not in use, so that the others need not wait until it expires. Never rejects. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.halt();
    await this.#asking;
    const { parked } = this.#parts;
    const standings = [...this.#standings.values()];
    await Promise.all(
      standings.map(({ lane }) => parked?.dismiss(lane.destination, 0).catch(() => undefined)),
    );
    for (const standing of standings) standing.cap = 0;
    while (standings.length > 0) await this.#exchange(standings.splice(0, CLAIMS_MAX));
  }

  /** Asks for nothing more: what it has ends by itself. */
  halt(): void {
    this.#isStopped = true;
    this.#cancelTick?.();
  }

  #standingOf(lane: Lane): Standing {
    const known = this.#standings.get(lane.destination);
    if (known !== undefined) {
      if (known.lane !== lane) {
        // It was forgotten while it was idle.
        known.lane = lane;
        lane.places = Math.min(known.held, known.cap);
      }
      return known;
    }
    const standing: Standing = {
      lane,
      held: 0,
      heldAt: this.#parts.clock.now(),
      cap: Number.POSITIVE_INFINITY,
      recent: 0,
      recentSince: 0,
      nextAt: 0,
      isShort: false,
      isAsking: false,
      isDismissing: false,
    };
    this.#standings.set(lane.destination, standing);
    this.#cancelTick ??= this.#parts.clock.after(SHORT_MS, this.#tick);
    return standing;
  }

  #ask(standing: Standing): void {
    if (this.#parts.clock.now() < this.#restUntil) return;
    this.#due.add(standing);
    this.#asking ??= this.#askAll().finally(() => {
      this.#asking = undefined;
    });
  }

  async #askAll(): Promise<void> {
    // What is noted in the same turn goes along.
    await Promise.resolve();
    while (this.#due.size > 0 && !this.#isStopped) {
      const batch = [...this.#due].slice(0, CLAIMS_MAX);
      for (const standing of batch) this.#due.delete(standing);
      await this.#exchange(batch);
    }
  }

  async #exchange(batch: readonly Standing[]): Promise<void> {
    const { places, clock, persistence } = this.#parts;
    const askedAt = clock.now();
    const claims = batch.map((standing) => this.#claim(standing));
    try {
      const granted = await places.claim(claims, PLACES_TTL_MS);
      persistence.worked("share");
      for (const [index, standing] of batch.entries()) {
        const [claim, grant] = [claims[index], granted[index]];
        if (claim && grant) this.#take(standing, claim, grant, askedAt);
      }
    } catch (error) {
      persistence.failed("share", error);
      // It has at least what it said that it keeps.
      for (const standing of batch) this.#wait(standing, BUSY_MS);
      this.#restUntil = clock.now() + BUSY_MS - SHORT_MS;
      this.#due.clear();
    }
    for (const standing of batch) {
      standing.isAsking = false;
      this.#parts.onChange(standing.lane);
    }
  }

  /** Says what this node goes on using; from here on it uses no more until there is an answer. */
  #claim(standing: Standing): Claim {
    const { lane, cap } = standing;
    const { destination, delivering } = lane;
    this.#expire(standing);
    const wants = this.#wants(lane);
    const used = this.#used(standing);
    if (used > Math.max(delivering, cap)) this.#dismiss(standing);
    const recent = this.#recent(standing, wants);
    const keeps = Math.max(delivering, used, Math.min(standing.held, recent, cap));
    standing.held = keeps;
    standing.isAsking = true;
    lane.places = keeps;
    const takes = Math.max(keeps, Math.min(wants, cap));
    return { destination, limit: this.#parts.limitMax, keeps, takes, wants };
  }

  #recent(standing: Standing, wants: number): number {
    const now = this.#parts.clock.now();
    const isOver = Math.abs(now - standing.recentSince) >= RECENT_MS;
    if (isOver) standing.recentSince = now;
    standing.recent = isOver ? wants : Math.max(wants, standing.recent);
    return standing.recent;
  }

  #take(standing: Standing, claim: Claim, granted: Granted, askedAt: number): void {
    const { lane } = standing;
    const { held, nodes, self, at } = granted;
    standing.held = held;
    standing.heldAt = askedAt;
    standing.cap = self < 0 ? standing.cap : capOf(claim.limit, nodes, self, at);
    lane.places = Math.min(held, standing.cap);
    const wants = this.#wants(lane);
    if (held === 0 && wants === 0) this.#forget(standing);
    else if (wants > held && held === claim.takes && standing.cap > held) {
      // It became more meanwhile.
      this.#due.add(standing);
    } else if (wants > held || held > standing.cap) this.#wait(standing, SHORT_MS);
    else this.#wait(standing, held * NODES_USUAL > claim.limit ? BUSY_MS : QUIET_MS);
    standing.isShort = wants > held;
  }

  #wait(standing: Standing, ms: number): void {
    standing.nextAt = this.#parts.clock.now() + ms;
  }

  #forget(standing: Standing): void {
    this.#standings.delete(standing.lane.destination);
    this.#due.delete(standing);
    standing.lane.places = 0;
  }

  /** Others wait for some of it. */
  #giveBack(standing: Standing): void {
    if (this.#used(standing) < standing.held) this.#ask(standing);
    else this.#dismiss(standing);
  }

  /** Connections beyond what this node may have make room for those of others. */
  #dismiss(standing: Standing): void {
    const { lane, cap, isDismissing } = standing;
    const { parked } = this.#parts;
    if (isDismissing || parked === undefined) return;
    standing.isDismissing = true;
    const most = Math.max(0, cap - lane.delivering);
    const closed = parked.dismiss(lane.destination, most).catch(() => undefined);
    void closed.then(() => {
      standing.isDismissing = false;
      if (this.#used(standing) < standing.held && !standing.isAsking) this.#ask(standing);
    });
  }

  /** Places on which something stands: a delivery, or a connection. */
  #used({ lane, held }: Standing): number {
    const parked = this.#parts.parked?.count(lane.destination) ?? 0;
    return Math.min(held, lane.delivering + parked);
  }

  /** Without an answer for so long the others may have them. */
  #expire(standing: Standing): void {
    const age = this.#parts.clock.now() - standing.heldAt;
    if (age >= 0 && age < PLACES_TTL_MS - MARGIN_MS) return;
    standing.held = 0;
    standing.lane.places = 0;
  }

  /** Deliveries that could be under way if there were only this node. */
  #wants({ delivering, waiting, reserved, throttle }: Lane): number {
    if (this.#isStopped) return delivering;
    const { clock, limitMax, deliveriesMax } = this.#parts;
    const most = Math.min(limitOf(throttle, clock.now()), limitMax, deliveriesMax);
    return Math.max(delivering, Math.min(delivering + waiting.length + reserved, most));
  }

  readonly #tick = (): void => {
    this.#cancelTick = undefined;
    const now = this.#parts.clock.now();
    let isAnyShort = false;
    for (const standing of this.#standings.values()) {
      if (!standing.isAsking) this.#expire(standing);
      isAnyShort ||= standing.isShort || standing.held > standing.cap;
      if (standing.nextAt <= now + SHORT_MS / 2 && !standing.isAsking) this.#ask(standing);
    }
    if (this.#standings.size === 0 || this.#isStopped) return;
    this.#cancelTick = this.#parts.clock.after(isAnyShort ? SHORT_MS : BUSY_MS, this.#tick);
  };
}
