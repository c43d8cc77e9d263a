import type { ObjectStore } from "./object-store.ts";

/** The part of a store whose keys begin with this. */
export function withKeyPrefix(store: ObjectStore, prefix: string): ObjectStore {
  if (prefix === "") return store;
  return {
    put: (key, bytes, condition) => store.put(prefix + key, bytes, condition),
    get: (key, range) => store.get(prefix + key, range),
    stream: (key, start) => store.stream(prefix + key, start),
    remove: (keys) => store.remove(keys.map((key) => prefix + key)),
    upload: (key) => store.upload(prefix + key),
    ...(store.requests && { requests: () => store.requests?.() ?? {} }),
    async list(query) {
      const { after } = query;
      const inner = { ...query, prefix: prefix + query.prefix };
      const page = await store.list(
        after === undefined ? inner : { ...inner, after: prefix + after },
      );
      const objects = page.objects.map((each) => ({ ...each, key: each.key.slice(prefix.length) }));
      return { ...page, objects };
    },
  };
}
