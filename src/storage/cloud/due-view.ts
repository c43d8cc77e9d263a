import { type Choice, DueLines, type Entry, firstOf } from "./due-lines.ts";
import { Heap } from "./heap.ts";
import { type Marker, markerKey } from "./marker.ts";

/** Markers in memory. */
const MARKERS_MAX = 100_000;
/** When that is too much, so many of each destination stay; if that is not enough, none. */
const PER_DOMAIN_LEFT = 10;
/** Markers of what is not due yet: they only tell when to look next. */
const FUTURE_MAX = 10_000;

const byTime = (left: Entry, right: Entry): boolean => left.marker.at < right.marker.at;

/**
 * What this node knows of the schedule, within bounds (P8): what is due, and what comes next. It may be wrong: who acts on a
 * marker reads the state first.
 */
export class DueView {
  readonly #entries = new Map<string, Entry>();
  readonly #lines = new DueLines();
  readonly #waiting = new Heap(byTime);
  readonly #leased = new Heap(byTime);
  readonly #chores = new Heap(byTime);
  #epoch = 0;
  #noted = 0;

  /** How many markers it knows. */
  get size(): number {
    return this.#entries.size;
  }

  /** How many it came to know so far. */
  get noted(): number {
    return this.#noted;
  }

  /** Knows a marker from now on, seen in the look of this number; true when that is new, and it is due. */
  note(marker: Marker, now: number, look = 0): boolean {
    const key = markerKey(marker);
    const known = this.#entries.get(key);
    if (known !== undefined) known.seenIn = Math.max(known.seenIn, look);
    if (known !== undefined || marker.phase === "held") return false;
    this.#noted += 1;
    const entry: Entry = { key, marker, seenIn: look, number: this.#noted, isGone: false };
    if (this.#isDue(marker, now)) return this.#addDue(entry);
    const heap = this.#futureOf(marker);
    if (heap.size >= FUTURE_MAX && this.#entries.size < heap.size) compact(heap);
    if (heap.size >= FUTURE_MAX) return false;
    this.#entries.set(key, entry);
    heap.push(entry);
    return false;
  }

  forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) this.#let(entry);
  }

  /** What waits in an older epoch is due at once. */
  startEpoch(epoch: number): void {
    if (epoch <= this.#epoch) return;
    this.#epoch = epoch;
    for (const entry of this.#waiting.takeAll()) {
      if (entry.isGone) continue;
      if (entry.marker.epoch >= epoch) this.#waiting.push(entry);
      else if (!this.#lines.add(entry)) this.#let(entry);
    }
  }

  /** Notices what has become due since; returns how many leases are over. */
  ripen(now: number): number {
    this.#ripen(this.#waiting, now);
    return this.#ripen(this.#leased, now);
  }

  /** What is due, earliest first as far as `skip` allows; the view forgets it. */
  choose(choice: Choice): readonly Marker[] {
    this.ripen(choice.now);
    const chosen = this.#lines.choose(choice);
    for (const entry of chosen) this.#let(entry);
    return chosen.map(({ marker }) => marker);
  }

  /** States that somebody left half done; the view forgets them. */
  takeChores(now: number, limit: number): readonly Marker[] {
    const taken: Marker[] = [];
    while (taken.length < limit) {
      const entry = firstOf(this.#chores);
      if (entry === undefined || entry.marker.at > now) break;
      this.#let(entry);
      taken.push(entry.marker);
    }
    return taken;
  }

  /** When the earliest is due that waits, possibly in the past; 0 for what a flush made due. */
  nextDue(now: number): number | null {
    this.ripen(now);
    return this.#lines.earliest(now) ?? firstOf(this.#waiting)?.marker.at ?? null;
  }

  /** From where to list again since something was left out, when that is wanted by now. */
  takeBack(): string | undefined {
    return this.#lines.takeBack();
  }

  /** Forgets what lists between these keys did not show in this look, if it was known before it. */
  forgetUnseen(from: string, to: string, look: number, notedBefore: number): void {
    for (const entry of this.#entries.values()) {
      const { key, seenIn, number } = entry;
      if (key > from && key < to && seenIn < look && number <= notedBefore) this.#let(entry);
    }
  }

  #isDue({ at, phase, epoch }: Marker, now: number): boolean {
    if (phase === "sending" || phase === "ended") return false;
    return at <= now || (phase === "waiting" && epoch < this.#epoch);
  }

  #futureOf({ phase }: Marker): Heap<Entry> {
    if (phase === "waiting") return this.#waiting;
    return phase === "leased" ? this.#leased : this.#chores;
  }

  #ripen(heap: Heap<Entry>, now: number): number {
    let count = 0;
    for (;;) {
      const entry = firstOf(heap);
      if (entry === undefined || entry.marker.at > now) return count;
      heap.pop();
      if (this.#lines.add(entry)) count += 1;
      else this.#let(entry);
    }
  }

  #addDue(entry: Entry): boolean {
    if (this.#entries.size >= MARKERS_MAX) this.#shrink();
    if (!this.#lines.add(entry)) return false;
    this.#entries.set(entry.key, entry);
    return true;
  }

  #shrink(): void {
    for (const left of [PER_DOMAIN_LEFT, 0]) {
      if (this.#entries.size < MARKERS_MAX / 2) return;
      for (const entry of this.#lines.shrink(left)) this.#let(entry);
    }
  }

  #let(entry: Entry): void {
    this.#entries.delete(entry.key);
    entry.isGone = true;
  }
}

/** Lets go what is not known any more. */
function compact(heap: Heap<Entry>): void {
  for (const entry of heap.takeAll()) if (!entry.isGone) heap.push(entry);
}
