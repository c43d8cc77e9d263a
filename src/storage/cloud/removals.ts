import type { Clock } from "../../lib/world.ts";
import { type Batch, openBatch } from "../batch.ts";
import type { Objects } from "./objects.ts";

/** Removals under way at once, and keys of one of them. */
const LANES = 8;
const KEYS_MAX = 500;
/** Keys that wait to be swept away; of more, some stay until somebody looks at them. */
const SWEPT_MAX = 100_000;

/** Removes objects; what comes while others are being removed shares a request. */
export class Removals {
  readonly #removed: Batch<string, undefined>;
  readonly #swept: Batch<string, undefined>;
  readonly #sweeping = new Set<Promise<unknown>>();

  readonly #clock: Clock;
  readonly #lingering: { readonly at: number; readonly keys: readonly string[] }[] = [];
  #cancel: (() => void) | undefined;

  constructor(objects: Objects, clock: Clock) {
    this.#clock = clock;
    const remove = async (keys: readonly string[]): Promise<readonly undefined[]> => {
      await objects.remove(keys);
      return keys.map(() => undefined);
    };
    const options = { itemsMax: KEYS_MAX, weightMax: KEYS_MAX, weigh: () => 1, run: remove };
    this.#removed = openBatch({ ...options, lanes: LANES });
    this.#swept = openBatch({ ...options, lanes: 2 });
  }

  /** It is gone when this resolves. */
  async remove(key: string): Promise<void> {
    await this.#removed.add(key);
  }

  /** Removes what is of no use any more one after the other, when there is time. What fails is left to whoever finds it. */
  sweep(...keys: readonly string[]): void {
    if (this.#sweeping.size >= SWEPT_MAX) return;
    const work = this.#sweepAll(keys).catch(() => undefined);
    this.#sweeping.add(work);
    void work.then(() => this.#sweeping.delete(work));
  }

  /** The same after a while, the same each time. What is not done when the store is closed is left to whoever finds it. */
  sweepLater(delayMs: number, ...keys: readonly string[]): void {
    if (this.#lingering.length >= SWEPT_MAX) return;
    this.#lingering.push({ at: this.#clock.now() + delayMs, keys });
    this.#cancel ??= this.#clock.after(delayMs, this.#sweepLingering);
  }

  close(): void {
    this.#cancel?.();
  }

  /** Resolves when everything that was to be swept is. */
  async idle(): Promise<void> {
    await Promise.all(this.#sweeping);
  }

  async #sweepAll(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.#swept.add(key);
  }

  readonly #sweepLingering = (): void => {
    const now = this.#clock.now();
    const young = this.#lingering.findIndex(({ at }) => at > now);
    const old = this.#lingering.splice(0, young < 0 ? this.#lingering.length : young);
    for (const { keys } of old) this.sweep(...keys);
    const next = this.#lingering[0];
    this.#cancel = next && this.#clock.after(next.at - now, this.#sweepLingering);
  };
}
