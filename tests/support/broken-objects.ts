import { QueueError } from "../../src/mail/queue-error.ts";
import type { ObjectStore } from "../../src/storage/cloud/object-store.ts";

/** What happens at one request of many, counted from 1. */
export interface Break {
  readonly at: number;
  /** The request is done, and only its answer is lost. */
  readonly isDone: boolean;
  /** No request behind it is done: the process has died. */
  readonly isEnd: boolean;
}

/** A store that breaks at one request, and tells what it was asked. */
export interface BrokenObjects {
  readonly store: ObjectStore;
  /** Counting begins, and this is going to happen. */
  breakAt(point: Break): void;
  /** Whether it has happened. */
  hasBroken(): boolean;
  /** Requests since counting began, as `put due/...`. */
  readonly seen: readonly string[];
}

export function brokenObjects(inner: ObjectStore): BrokenObjects {
  const seen: string[] = [];
  let point: Break | undefined;
  let isBroken = false;

  async function asked<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (isBroken && point?.isEnd) throw new QueueError("the process is gone");
    seen.push(what);
    if (point === undefined || isBroken || seen.length !== point.at) return await work();
    isBroken = true;
    if (point.isDone) await work();
    throw new QueueError("the answer is lost");
  }

  return {
    store: {
      put: (key, bytes, condition) => asked(`put ${key}`, () => inner.put(key, bytes, condition)),
      get: (key, range) => asked(`get ${key}`, () => inner.get(key, range)),
      remove: (keys) => asked(`remove ${keys.join(" ")}`, () => inner.remove(keys)),
      list: (query) => asked(`list ${query.prefix}`, () => inner.list(query)),
      stream: (key, start) => inner.stream(key, start),
      upload(key) {
        const upload = inner.upload(key);
        return { ...upload, end: () => asked(`upload ${key}`, () => upload.end()) };
      },
    },
    breakAt(next) {
      point = next;
      isBroken = false;
      seen.length = 0;
    },
    hasBroken: () => isBroken,
    seen,
  };
}
