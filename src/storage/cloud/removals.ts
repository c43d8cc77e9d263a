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

  constructor(objects: Objects) {
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

  /** Resolves when everything that was to be swept is. */
  async idle(): Promise<void> {
    await Promise.all(this.#sweeping);
  }

  async #sweepAll(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.#swept.add(key);
  }
}
