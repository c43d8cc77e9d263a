import type { Clock } from "../../lib/world.ts";

/** Remembers values until they expire; when it is full the oldest give way. */
export interface Cache<Value> {
  get(key: string): Value | undefined;
  set(key: string, value: Value, ttlMs: number): void;
}

/** Makes an empty cache of at most `entriesMax` values. */
export function cache<Value>(entriesMax: number, clock: Clock): Cache<Value> {
  const entries = new Map<string, { readonly value: Value; readonly until: number }>();
  return {
    get(key) {
      const entry = entries.get(key);
      if (!entry) return undefined;
      if (entry.until > clock.now()) return entry.value;
      entries.delete(key);
      return undefined;
    },
    set(key, value, ttlMs) {
      entries.delete(key);
      if (ttlMs <= 0 || entriesMax <= 0) return;
      if (entries.size >= entriesMax) {
        const [oldest] = entries.keys();
        if (oldest !== undefined) entries.delete(oldest);
      }
      entries.set(key, { value, until: clock.now() + ttlMs });
    },
  };
}
