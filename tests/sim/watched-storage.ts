import { LostLeaseError, type QueueStorage } from "../../src/storage/storage.ts";
import type { Ledger } from "./ledger.ts";

/**
 * A store whose every promise goes into the ledger. `isOver`: nobody may conclude anything any more from what an
 * operation comes to, since the store itself has ended.
 */
export function watchedStorage(
  storage: QueueStorage,
  ledger: Ledger,
  isOver: () => boolean,
): QueueStorage {
  /** Tells `done` or `failed` how it ended, unless that means nothing. */
  async function watch<T>(
    work: Promise<T>,
    done: (result: T) => void,
    failed: (error: unknown) => void = () => undefined,
  ): Promise<T> {
    try {
      const result = await work;
      if (!isOver()) done(result);
      return result;
    } catch (error) {
      if (!isOver()) failed(error);
      throw error;
    }
  }

  const watched: Partial<QueueStorage> = {
    write(envelopes, timestamp, options) {
      const ended = ledger.writing(options?.ids ?? [], envelopes, timestamp, options?.lease);
      const work = storage.write(envelopes, timestamp, options);
      return watch(
        work,
        () => ended(true),
        () => ended(false),
      );
    },
    settle(id, settlement, options = {}) {
      const { done, failed } = ledger.settling(id, settlement, options);
      const work = storage.settle(id, settlement, options);
      return watch(work, done, (error) => failed(error instanceof LostLeaseError));
    },
    setTimestamp(id, timestamp) {
      ledger.rescheduled(id, timestamp);
      return storage.setTimestamp(id, timestamp);
    },
    remove: (id) => watch(storage.remove(id), ledger.dropping(id)),
    lease(now, limit, options) {
      const work = storage.lease(now, limit, options);
      return watch(work, (leases) => ledger.leased(leases, options.holder, options.until));
    },
    renew(ids, holder, until) {
      return watch(storage.renew(ids, holder, until), () => ledger.renewed(ids, holder, until));
    },
    release(ids, holder) {
      return watch(storage.release(ids, holder), () => ledger.released(ids, holder));
    },
    flush() {
      ledger.flushed();
      return storage.flush();
    },
    setHeld: (id, held) => watch(storage.setHeld(id, held), ledger.holding(id, held)),
  };
  return new Proxy(storage, {
    get(target, property: keyof QueueStorage) {
      const method: unknown = watched[property] ?? Reflect.get(target, property);
      return typeof method === "function" && !(property in watched) ? method.bind(target) : method;
    },
  });
}
