import { QueueError } from "../../mail/queue-error.ts";
import type { Health } from "./health.ts";
import type {
  ObjectPage,
  ObjectStore,
  ObjectUpload,
  OctetRange,
  PutCondition,
  StoredObject,
} from "./object-store.ts";

/** Keys of one page of a list. */
export const PAGE_MAX = 1000;

/** Every request goes through here: errors say what could not be done, and nothing is begun after the end. */
export class Objects {
  readonly #store: ObjectStore;
  readonly #health: Health;
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(store: ObjectStore, health: Health) {
    this.#store = store;
    this.#health = health;
  }

  put(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string | undefined> {
    const isRace = condition !== undefined;
    return this.#done("cannot write", () => this.#store.put(key, bytes, condition), isRace);
  }

  get(key: string, range?: OctetRange): Promise<StoredObject | undefined> {
    return this.#done("cannot read", () => this.#store.get(key, range));
  }

  remove(keys: readonly string[]): Promise<void> {
    return this.#done("cannot remove", () => this.#store.remove(keys));
  }

  /** The keys behind `after`. */
  list(prefix: string, after: string, limit: number = PAGE_MAX): Promise<ObjectPage> {
    const query = { prefix, limit, ...(after !== "" && { after }) };
    return this.#done("cannot list", () => this.#store.list(query));
  }

  /** The pages behind `after`, one by one. */
  async *pages(prefix: string, after = ""): AsyncGenerator<ObjectPage> {
    let at = after;
    for (;;) {
      const page = await this.list(prefix, at);
      yield page;
      const last = page.objects.at(-1);
      if (!page.isMore || last === undefined) return;
      at = last.key;
    }
  }

  stream(key: string, start: number): AsyncIterable<Uint8Array> {
    this.requireOpen();
    return this.#store.stream(key, start);
  }

  upload(key: string): ObjectUpload {
    this.requireOpen();
    return this.#store.upload(key);
  }

  requireOpen(): void {
    if (this.#isClosed) throw new QueueError("the store is closed");
  }

  /** Begins nothing more; resolves when what runs is done. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#running);
  }

  async #done<T>(what: string, begin: () => Promise<T>, isRace = false): Promise<T> {
    this.requireOpen();
    const work = begin();
    this.#running.add(work);
    try {
      return await work;
    } catch (error) {
      throw isRace ? this.#health.doubted(what, error) : this.#health.failed(what, error);
    } finally {
      this.#running.delete(work);
    }
  }
}
