import type { MessageState, StorageInfo } from "../storage.ts";
import { inParallel } from "./in-parallel.ts";
import { CORRUPT, DUE, MAIL } from "./keys.ts";
import { stateOfMarker } from "./listing.ts";
import { type Marker, parseMarker } from "./marker.ts";
import type { CloudPart } from "./part.ts";
import type { Reader } from "./reader.ts";
import { markerOf } from "./state-object.ts";

/** Up to so many messages are counted when asked. */
const EXACT_MAX = 10_000;
/** Messages that are being changed at this moment, of which one reads how they are. */
const DOUBTFUL_MAX = 1000;
/** More are counted in the background, a page at a time, and again when it is so long ago. */
const PAGE_PAUSE_MS = 100;
const RECOUNT_MS = 60_000;
/** Messages below which they are counted when asked, again. */
const FEW = 8000;

interface Totals {
  readonly states: Record<MessageState, number>;
  bytes: number;
}

const none = (): Totals => ({ states: { incoming: 0, active: 0, deferred: 0, hold: 0 }, bytes: 0 });

/**
 * How many messages there are. Up to ten thousand are counted when asked, by lists alone. Of more it says what the latest
 * count found, which goes on in the background and is a minute or some minutes old, and what this node has changed since.
 */
export class Counts {
  readonly #part: () => CloudPart;
  readonly #reader: () => Reader;
  /** What was counted the last time, and what was changed since that count began. */
  #counted: { readonly totals: Totals; readonly at: number } | undefined;
  #since = none();
  #recount: Promise<void> | undefined;
  #corrupt: { count: number; readonly at: number } | undefined;
  #oldest: { readonly id: string; readonly at: number } | undefined;
  #isClosed = false;

  constructor(part: () => CloudPart, reader: () => Reader) {
    this.#part = part;
    this.#reader = reader;
  }

  /** This node has changed a message. */
  noteChange(before: Marker | undefined, after: Marker | undefined): void {
    const now = this.#part().time.now();
    if (before !== undefined) add(this.#since, before, now, -1);
    if (after !== undefined) add(this.#since, after, now, 1);
  }

  noteCorrupt(): void {
    if (this.#corrupt !== undefined) this.#corrupt.count += 1;
  }

  async info(): Promise<StorageInfo> {
    const { states, bytes } = await this.#totals();
    const { incoming, active, deferred, hold } = states;
    return {
      size: incoming + active + deferred + hold,
      states: { ...states },
      bytes,
      oldestAt: await this.#oldestAt(),
      corrupt: await this.#corruptCount(),
    };
  }

  close(): void {
    this.#isClosed = true;
  }

  async #totals(): Promise<Totals> {
    if (this.#counted !== undefined) return this.#estimate();
    await this.#part().removals.idle();
    return (await this.#countExactly()) ?? this.#estimate();
  }

  /** `undefined`: there are too many. */
  async #countExactly(): Promise<Totals | undefined> {
    const found = new Map<string, readonly Marker[]>();
    for await (const keys of this.#keys(MAIL)) {
      for (const key of keys) found.set(key.slice(MAIL.length), []);
      if (found.size > EXACT_MAX) return undefined;
    }
    let count = 0;
    for await (const keys of this.#keys(DUE)) {
      for (const key of keys) noteMarker(found, parseMarker(key));
      count += keys.length;
      if (count > 4 * EXACT_MAX) return undefined;
    }
    return totalsOf(await this.#inForce(found), this.#part().time.now());
  }

  /** Of each message the marker that says the truth: where there are several, its state tells. */
  async #inForce(found: ReadonlyMap<string, readonly Marker[]>): Promise<readonly Marker[]> {
    const all = [...found];
    const doubtful = all.filter(([, markers]) => markers.length !== 1).slice(0, DOUBTFUL_MAX);
    const shown = await inParallel(doubtful, async ([id]) => {
      const state = (await this.#reader().shown(id))?.state;
      return state === undefined ? [] : [markerOf(state)];
    });
    const clear = all.filter(([, markers]) => markers.length === 1);
    return [...clear.map(([, markers]) => markers), ...shown].flat();
  }

  async *#keys(prefix: string): AsyncGenerator<readonly string[]> {
    for await (const page of this.#part().objects.pages(prefix)) {
      yield page.objects.map(({ key }) => key);
    }
  }

  #estimate(): Totals {
    const { time } = this.#part();
    const age = time.now() - (this.#counted?.at ?? Number.NEGATIVE_INFINITY);
    if (this.#recount === undefined && (age < 0 || age > RECOUNT_MS)) {
      this.#recount = this.#countAll()
        .catch(() => undefined)
        .finally(() => {
          this.#recount = undefined;
        });
    }
    return this.#sum();
  }

  /** The latest count, and what was changed since. */
  #sum(): Totals {
    const totals = none();
    const { states, bytes } = this.#counted?.totals ?? none();
    for (const state of Object.keys(states) as MessageState[]) {
      totals.states[state] = Math.max(0, states[state] + this.#since.states[state]);
    }
    totals.bytes = Math.max(0, bytes + this.#since.bytes);
    return totals;
  }

  async #countAll(): Promise<void> {
    const { objects, time, world } = this.#part();
    const totals = none();
    // The first time one sees it grow.
    const sofar = this.#counted === undefined ? totals : this.#sum();
    this.#counted = { totals: sofar, at: time.now() };
    this.#since = none();
    let count = 0;
    for await (const page of objects.pages(DUE)) {
      for (const { key } of page.objects) {
        const marker = parseMarker(key);
        if (marker === undefined || marker.phase === "ended") continue;
        add(totals, marker, time.now(), 1);
        count += 1;
      }
      await new Promise<void>((resolve) => world.clock.after(PAGE_PAUSE_MS, resolve));
      if (this.#isClosed) return;
    }
    this.#counted = count < FEW ? undefined : { totals, at: time.now() };
  }

  async #corruptCount(): Promise<number> {
    const now = this.#part().time.now();
    const known = this.#corrupt;
    if (known !== undefined && Math.abs(now - known.at) < RECOUNT_MS) return known.count;
    let count = 0;
    for await (const keys of this.#keys(CORRUPT)) {
      count += keys.filter((key) => key.endsWith(".note")).length;
    }
    this.#corrupt = { count, at: now };
    return count;
  }

  async #oldestAt(): Promise<number | null> {
    const page = await this.#part().objects.list(MAIL, "", 1);
    const id = page.objects[0]?.key.slice(MAIL.length);
    if (id === undefined) return null;
    if (this.#oldest?.id !== id) {
      const head = await this.#reader()
        .head(id)
        .catch(() => undefined);
      if (head === undefined) return null;
      this.#oldest = { id, at: Math.round(head.record.envelope.receivedAt) };
    }
    return this.#oldest.at;
  }
}

function noteMarker(found: Map<string, readonly Marker[]>, marker: Marker | undefined): void {
  if (marker === undefined) return;
  const known = found.get(marker.id);
  if (known !== undefined) found.set(marker.id, [...known, marker]);
}

function totalsOf(markers: readonly Marker[], now: number): Totals {
  const totals = none();
  for (const marker of markers) add(totals, marker, now, 1);
  return totals;
}

function add(totals: Totals, marker: Marker, now: number, count: 1 | -1): void {
  if (marker.phase === "ended") return;
  totals.states[stateOfMarker(marker, now)] += count;
  totals.bytes += count * marker.size;
}
