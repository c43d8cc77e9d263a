import { InFlight } from "../in-flight.ts";
import type { ObjectStore, PutCondition } from "./object-store.ts";

/**
 * Conditions over a store that knows none, for a queue that one process alone uses: what is there is read first. Two
 * processes that do this at the same time would both deliver the same mail.
 */
export function withOwnConditions(store: ObjectStore): ObjectStore {
  const work = new InFlight();

  async function holds(key: string, condition: PutCondition): Promise<boolean> {
    const found = await store.get(key);
    return condition === "absent" ? found === undefined : found?.version === condition.version;
  }

  return {
    ...store,
    async put(key, bytes, condition) {
      if (condition === undefined) return await store.put(key, bytes);
      while (work.has(key)) await work.change([key]);
      return await work.run([key], async () => {
        return (await holds(key, condition)) ? await store.put(key, bytes) : undefined;
      });
    },
  };
}
