import { QueueError } from "../../mail/queue-error.ts";
import type { DueView } from "./due-view.ts";
import { type Marker, markerKey } from "./marker.ts";
import type { Objects } from "./objects.ts";
import type { Removals } from "./removals.ts";
import type { StoreTime } from "./store-time.ts";

const NOTHING = new Uint8Array(0);

/**
 * A marker without its state is somebody's who is about to write it, or who never will. After an hour it is the latter: who
 * has put a marker begins to write what belongs to it within ten minutes or not at all, and a store refuses what was signed
 * a quarter of an hour ago.
 */
const ABANDONED_MS = 60 * 60_000;
const BEGIN_MS = 10 * 60_000;

/**
 * The last state of a message that is gone stays so long: who has seen that there was none yet must not write the first one
 * again, and have leased what has been delivered.
 */
const LINGER_MS = 60_000;

/** Hears of every change of a message that this node makes. */
export type OnChange = (before: Marker | undefined, after: Marker | undefined) => void;

/** Puts and removes markers, and keeps what this node knows in step. */
export class Marks {
  readonly #objects: Objects;
  readonly #removals: Removals;
  readonly #time: StoreTime;
  readonly #view: DueView;
  readonly #onChange: OnChange;

  constructor(
    parts: { readonly objects: Objects; readonly removals: Removals; readonly time: StoreTime },
    view: DueView,
    onChange: OnChange,
  ) {
    this.#objects = parts.objects;
    this.#removals = parts.removals;
    this.#time = parts.time;
    this.#view = view;
    this.#onChange = onChange;
  }

  /** Does `write`, which stores what this marker belongs to, behind the marker. */
  async before<T>(marker: Marker, write: () => Promise<T>): Promise<T> {
    const startedAt = this.#time.now();
    await this.#objects.put(markerKey(marker), NOTHING);
    if (this.#time.now() - startedAt > BEGIN_MS) throw new QueueError("this process was stopped");
    const written = await write();
    // One that others have put long ago may be thrown away at this moment, by who saw it without what belongs to it.
    if (startedAt - marker.at > ABANDONED_MS / 2) await this.put(marker);
    return written;
  }

  /** Puts one whose state is in force. */
  async put(marker: Marker): Promise<void> {
    await this.#objects.put(markerKey(marker), NOTHING);
    this.#view.note(marker, this.#time.now());
  }

  /** The state of `after` is in force instead of the one of `before`. */
  changed(before: Marker | undefined, after: Marker | undefined): void {
    if (before !== undefined) this.drop(before);
    if (after !== undefined) this.#view.note(after, this.#time.now());
    this.#onChange(before, after);
  }

  /** The message is gone, and so is soon what is left of it: the marker last, by which it would be found. */
  ended(marker: Marker, stateKey: string | undefined): void {
    const key = markerKey(marker);
    this.#view.forget(key);
    const keys = stateKey === undefined ? [key] : [stateKey, key];
    // A state that wants attention for so long was written before that.
    const isOld = this.#time.now() - marker.at > LINGER_MS;
    if (stateKey === undefined || isOld) this.#removals.sweep(...keys);
    else this.#removals.sweepLater(LINGER_MS, ...keys);
    this.#onChange(marker, undefined);
  }

  /** It says nothing true any more. */
  drop(marker: Marker): void {
    const key = markerKey(marker);
    this.#view.forget(key);
    this.#removals.sweep(key);
  }

  /**
   * Drops one of which nothing was there, if by now nobody is going to write that. True: it is gone, and who has looked for it
   * before should do so once more.
   */
  async dropAbandoned(marker: Marker): Promise<boolean> {
    const now = this.#time.now();
    if (now - marker.at < ABANDONED_MS && marker.phase !== "held") return false;
    const { objects } = await this.#objects.list(markerKey(marker), "", 1);
    const [found] = objects;
    if (found === undefined || now - found.storedAt <= ABANDONED_MS) return false;
    this.#view.forget(found.key);
    await this.#removals.remove(found.key);
    return true;
  }
}
