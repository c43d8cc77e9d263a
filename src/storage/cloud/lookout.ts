import { EPOCH_FIRST } from "../message-row.ts";
import type { DueView } from "./due-view.ts";
import type { Epoch } from "./epoch.ts";
import { DUE } from "./keys.ts";
import { dueFrom, HELD_AT, parseMarker } from "./marker.ts";
import type { Objects } from "./objects.ts";
import type { StoreTime } from "./store-time.ts";

/** Pages that one look reads at most; the next goes on where it stopped. */
const PAGES_PER_LOOK = 32;
/** The same for what is due because of a flush: as many as can soon be of use. */
const FLUSH_PAGES_PER_LOOK = 8;
/** When news came, one need not wait for the next look, but for this long since the last. */
const NEWS_MS = 50;

/**
 * How far back a look goes: what another node puts is in the past by as much as its request took, and as its idea of the
 * store's clock is wrong. Deeper looks find what was later still, and notice what others have finished.
 */
const DEPTHS: readonly { readonly everyMs: number; readonly backMs: number }[] = [
  { everyMs: 10 * 60_000, backMs: Number.POSITIVE_INFINITY },
  { everyMs: 60_000, backMs: 2 * 60_000 },
  { everyMs: 0, backMs: 5000 },
];

export interface LookoutParts {
  readonly objects: Objects;
  readonly view: DueView;
  readonly epoch: Epoch;
  readonly time: StoreTime;
  /** How old what is known may be. */
  readonly pollMs: number;
}

interface Round {
  readonly from: string;
  readonly number: number;
  readonly notedBefore: number;
  readonly isDeep: boolean;
  at: string;
}

/** Lists markers into the view: all that are due, some of what comes behind, and everything there is after a flush. */
export class Lookout {
  readonly #parts: LookoutParts;
  readonly #lastDeep = DEPTHS.map(() => Number.NEGATIVE_INFINITY);
  /** The instant up to which everything was listed. */
  #lookedAt = Number.NEGATIVE_INFINITY;
  #round: Round | undefined;
  #rounds = 0;
  /** Where the list of what a flush made due goes on. */
  #flushAt: string | undefined;
  #flushSeen: number;
  #isNews = false;
  #looking: Promise<number> | undefined;
  /** What those have found who take nothing. */
  #untold = 0;

  constructor(parts: LookoutParts) {
    this.#parts = parts;
    // What the last flush made due may not have been tried yet.
    this.#flushSeen = EPOCH_FIRST;
    this.noteFlush();
  }

  /** Something is there that this node does not know of. */
  noteNews(): void {
    this.#isNews = true;
  }

  /** There was a flush, of this node or before it was there. */
  noteFlush(): void {
    this.#noteEpoch(this.#parts.time.now());
  }

  /** More is due, or may be, than was listed. */
  get isBehind(): boolean {
    return this.#round !== undefined || this.#flushAt !== undefined;
  }

  /** Looks if what is known is old, or not all of it; whether it has. */
  async freshen(): Promise<boolean> {
    return (await this.#freshen()) !== undefined;
  }

  /** The same for one who takes nothing: those who wait are told of what it finds. Resolves with the instant it is about. */
  async glance(): Promise<number> {
    const found = (await this.#freshen()) ?? 0;
    const { view, time } = this.#parts;
    const now = time.now();
    this.#untold += found + view.ripen(now);
    return now;
  }

  /** How many were found by such, for one who waits. */
  takeUntold(): number {
    const untold = this.#untold;
    this.#untold = 0;
    return untold;
  }

  async #freshen(): Promise<number | undefined> {
    const now = this.#parts.time.now();
    const age = now - this.#lookedAt;
    const isOld = age < 0 || age >= this.#parts.pollMs || (this.#isNews && age >= NEWS_MS);
    return isOld || this.isBehind ? await this.look() : undefined;
  }

  /** Looks now; resolves with how many it found that are due and that were not known. One look at a time. */
  look(): Promise<number> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<number> {
    const { epoch, view, time } = this.#parts;
    this.#isNews = false;
    const now = time.now();
    const [, found] = await Promise.all([epoch.read(), this.#listDue(now)]);
    const isFlushed = this.#noteEpoch(now);
    this.#goBack(now);
    return found + view.ripen(now) + (await this.#listFlushed(now)) + (isFlushed ? 1 : 0);
  }

  /** Whether there was a flush since the last time. */
  #noteEpoch(now: number): boolean {
    const { epoch, view } = this.#parts;
    if (epoch.current <= this.#flushSeen) return false;
    this.#flushSeen = epoch.current;
    view.startEpoch(epoch.current);
    this.#flushAt = dueFrom(now);
    return true;
  }

  /** Everything up to this instant, as far as the pages of one look go. */
  async #listDue(now: number): Promise<number> {
    const { view } = this.#parts;
    this.#round ??= this.#begin(now);
    const round = this.#round;
    const end = dueFrom(now + 1);
    let found = 0;
    for (let pages = 0; pages < PAGES_PER_LOOK; pages += 1) {
      const page = await this.#page(round.at, now, round.number);
      found += page.found;
      if (!page.isMore || page.last >= end) {
        this.#round = undefined;
        this.#lookedAt = now;
        if (round.isDeep) view.forgetUnseen(round.from, end, round.number, round.notedBefore);
        return found;
      }
      round.at = page.last;
    }
    return found;
  }

  #begin(now: number): Round {
    const depth = DEPTHS.findIndex(({ everyMs }, index) => {
      return now - (this.#lastDeep[index] ?? 0) >= everyMs || now < (this.#lastDeep[index] ?? 0);
    });
    for (let index = Math.max(0, depth); index < DEPTHS.length; index += 1) {
      this.#lastDeep[index] = now;
    }
    const back = Math.min(now, this.#lookedAt) - (DEPTHS[depth]?.backMs ?? 0);
    const from = Number.isFinite(back) ? dueFrom(back) : DUE;
    this.#rounds += 1;
    const { noted } = this.#parts.view;
    const isDeep = depth < DEPTHS.length - 1;
    return { from, at: from, number: this.#rounds, notedBefore: noted, isDeep };
  }

  /** What waits in older epochs behind this instant: as much at a time as can be of use. */
  async #listFlushed(now: number): Promise<number> {
    let found = 0;
    for (let pages = 0; this.#flushAt !== undefined && pages < FLUSH_PAGES_PER_LOOK; pages += 1) {
      const page = await this.#page(this.#flushAt, now, 0);
      found += page.found;
      const isEnd = !page.isMore || page.last >= dueFrom(HELD_AT);
      this.#flushAt = isEnd ? undefined : page.last;
    }
    return found;
  }

  /** Where more was left out than is left by now, the lists begin again. */
  #goBack(now: number): void {
    const back = this.#parts.view.takeBack();
    if (back === undefined) return;
    // The key itself is to be listed, too.
    const from = back.slice(0, -1);
    if (back >= dueFrom(now)) {
      if (this.#flushAt === undefined || from < this.#flushAt) this.#flushAt = from;
      return;
    }
    this.#round ??= { ...this.#begin(now), isDeep: false };
    if (from < this.#round.at) this.#round.at = from;
  }

  async #page(after: string, now: number, look: number) {
    const { objects, view } = this.#parts;
    const page = await objects.list(DUE, after);
    let found = 0;
    for (const { key } of page.objects) {
      const marker = parseMarker(key);
      if (marker !== undefined && view.note(marker, now, look)) found += 1;
    }
    const last = page.objects.at(-1)?.key ?? "";
    return { found, last, isMore: page.isMore };
  }
}
