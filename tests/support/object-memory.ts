import { QueueError } from "../../src/mail/queue-error.ts";
import type {
  ListedObject,
  ObjectStore,
  StoredObject,
} from "../../src/storage/cloud/object-store.ts";

/** Objects in this process, with the meaning of a real store: for tests that try what no server can be told to do. */
export interface ObjectMemory {
  readonly store: ObjectStore;
  readonly objects: Map<string, StoredObject & { readonly storedAt: number }>;
  /** A copy, as a crash of all clients at this moment leaves it. */
  copy(): ObjectMemory;
}

/** `now` is the store's clock. */
export function objectMemory(
  now: () => number,
  from: ObjectMemory["objects"] = new Map(),
): ObjectMemory {
  const objects: ObjectMemory["objects"] = new Map(from);
  let versions = objects.size;

  const put: ObjectStore["put"] = async (key, bytes, condition) => {
    const known = objects.get(key);
    const holds =
      condition === undefined ||
      (condition === "absent" ? known === undefined : known?.version === condition.version);
    if (!holds) return undefined;
    versions += 1;
    const version = `"${versions}.${Bun.hash(bytes).toString(36)}"`;
    objects.set(key, { bytes: bytes.slice(), version, storedAt: now() });
    return version;
  };

  const store: ObjectStore = {
    put,
    async get(key, range) {
      const found = objects.get(key);
      if (found === undefined) return undefined;
      const { bytes, version } = found;
      return { bytes: bytes.slice(range?.start ?? 0, range?.end ?? bytes.length), version };
    },
    async *stream(key, start = 0) {
      const found = objects.get(key);
      if (found === undefined) throw new QueueError(`${key} is not in the object store`);
      for (let at = start; at < found.bytes.length; at += 65_536) {
        yield found.bytes.slice(at, at + 65_536);
      }
    },
    async remove(keys) {
      for (const key of keys) objects.delete(key);
    },
    async list({ prefix, after = "", limit }) {
      const keys = [...objects.keys()]
        .filter((key) => key.startsWith(prefix) && key > after)
        .sort();
      const page = keys.slice(0, limit).map((key): ListedObject => {
        const { bytes, storedAt } = objects.get(key) as { bytes: Uint8Array; storedAt: number };
        return { key, size: bytes.length, storedAt };
      });
      return { objects: page, isMore: keys.length > limit };
    },
    upload(key) {
      const parts: Uint8Array[] = [];
      return {
        async write(bytes) {
          parts.push(bytes.slice());
        },
        async end() {
          await put(key, Buffer.concat(parts));
        },
        async abort() {
          parts.length = 0;
        },
      };
    },
  };
  return { store, objects, copy: () => objectMemory(now, objects) };
}
