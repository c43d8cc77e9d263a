import { VISITED_MAX } from "../due-look.ts";
import { Heap } from "./heap.ts";
import type { Marker } from "./marker.ts";

/** Markers of one destination in memory; its rest is listed again when it has no more than `LOW`. */
const PER_DOMAIN_MAX = 2000;
const LOW = 500;

/** A marker that is known. */
export interface Entry {
  readonly key: string;
  readonly marker: Marker;
  /** The latest look that saw it, and its place among all that were noted. */
  seenIn: number;
  readonly number: number;
  /** Known no more; whatever still holds it passes it over. */
  isGone: boolean;
}

interface Line {
  readonly heap: Heap<Entry>;
  /** The first that was left out for want of room. */
  cutAt: string | undefined;
}

export interface Choice {
  readonly now: number;
  readonly limit: number;
  readonly skip?: ((domain: string) => boolean) | undefined;
  /** Leaves out what is due only because of a flush. */
  readonly timelyOnly?: boolean | undefined;
}

/** What is due, by destination, so that a pile for one costs the others nothing (P9). */
export class DueLines {
  readonly #lines = new Map<string, Line>();
  #backTo: string | undefined;

  /** False: its destination has so many that this one is left out for now. */
  add(entry: Entry): boolean {
    const { domain } = entry.marker;
    const line = this.#lines.get(domain) ?? { heap: new Heap(byDue), cutAt: undefined };
    this.#lines.set(domain, line);
    if (line.heap.size >= PER_DOMAIN_MAX) {
      line.cutAt = earlier(line.cutAt, entry.key);
      return false;
    }
    line.heap.push(entry);
    return true;
  }

  /** Earliest first as far as `skip` allows, of as many destinations as one look visits; they are taken out. */
  choose(choice: Choice): readonly Entry[] {
    const heads = new Heap(byDue);
    for (const line of this.#visited()) offer(heads, line, choice);
    const chosen: Entry[] = [];
    while (chosen.length < choice.limit) {
      const head = heads.pop();
      if (head === undefined) break;
      const { domain } = head.marker;
      const line = this.#lines.get(domain);
      if (line === undefined || choice.skip?.(domain)) continue;
      line.heap.pop();
      chosen.push(head);
      this.#noteLow(line);
      offer(heads, line, choice);
    }
    return chosen;
  }

  /** The earliest due time; 0 for what a flush made due, or where more than was noted is due. */
  earliest(now: number): number | null {
    let earliest: number | null = null;
    for (const [domain, { heap, cutAt }] of this.#lines) {
      const marker = firstOf(heap)?.marker;
      if (marker === undefined && cutAt === undefined) this.#lines.delete(domain);
      if (marker === undefined) continue;
      const due = marker.at > now ? 0 : Math.min(marker.due, marker.at);
      earliest = Math.min(earliest ?? due, due);
    }
    return earliest;
  }

  /** Leaves at most so many of each destination; gives those that it let go. */
  shrink(perDomain: number): readonly Entry[] {
    const dropped: Entry[] = [];
    for (const line of this.#lines.values()) {
      const entries = line.heap.takeAll().filter(({ isGone }) => !isGone);
      entries.sort((left, right) => (byDue(left, right) ? -1 : 1));
      for (const entry of entries.slice(0, perDomain)) line.heap.push(entry);
      for (const entry of entries.slice(perDomain)) {
        line.cutAt = earlier(line.cutAt, entry.key);
        dropped.push(entry);
      }
    }
    return dropped;
  }

  /** From where to list again since something was left out, when that is wanted by now. */
  takeBack(): string | undefined {
    const back = this.#backTo;
    this.#backTo = undefined;
    return back;
  }

  /** The next ones, round and round: those that were visited go to the end. */
  #visited(): readonly Line[] {
    const visited: Line[] = [];
    for (const [domain, line] of this.#lines) {
      if (visited.length === VISITED_MAX) break;
      if (firstOf(line.heap) !== undefined) visited.push(line);
      else if (line.cutAt === undefined) this.#lines.delete(domain);
      else this.#noteLow(line);
    }
    if (visited.length === VISITED_MAX) this.#rotate(visited);
    return visited;
  }

  #rotate(visited: readonly Line[]): void {
    for (const { heap } of visited) {
      const domain = heap.peek()?.marker.domain ?? "";
      const line = this.#lines.get(domain);
      if (line === undefined || !this.#lines.delete(domain)) continue;
      this.#lines.set(domain, line);
    }
  }

  #noteLow(line: Line): void {
    if (line.cutAt === undefined || line.heap.size > LOW) return;
    this.#backTo = earlier(this.#backTo, line.cutAt);
    line.cutAt = undefined;
  }
}

function offer(heads: Heap<Entry>, { heap }: Line, { now, timelyOnly }: Choice): void {
  const head = firstOf(heap);
  if (head !== undefined && !(timelyOnly && head.marker.at > now)) heads.push(head);
}

/** What comes first in a heap and is still known. */
export function firstOf(heap: Heap<Entry>): Entry | undefined {
  while (heap.peek()?.isGone) heap.pop();
  return heap.peek();
}

function byDue({ marker: left }: Entry, { marker: right }: Entry): boolean {
  return left.due === right.due ? left.id < right.id : left.due < right.due;
}

function earlier(left: string | undefined, right: string): string {
  return left === undefined || right < left ? right : left;
}
