import type { Clock } from "../lib/world.ts";

/** How long a host that could not be reached is left alone while others can be asked. */
export const BAD_HOST_MS = 30_000;

/** Hosts remembered at once; the oldest give way. */
export const BAD_HOSTS_MAX = 10_000;

/** Remembers for a while which hosts had a certain trouble, so that not every message finds out anew. */
export interface HostMemory {
  note(host: string): void;
  forget(host: string): void;
  has(host: string): boolean;
}

/** Makes an empty memory of `ms` milliseconds. */
export function hostMemory(clock: Clock, ms = BAD_HOST_MS): HostMemory {
  const until = new Map<string, number>();
  return {
    note(host) {
      until.delete(host);
      until.set(host, clock.now() + ms);
      if (until.size > BAD_HOSTS_MAX) {
        const [oldest] = until.keys();
        if (oldest !== undefined) until.delete(oldest);
      }
    },
    forget(host) {
      if (until.size > 0) until.delete(host);
    },
    has(host) {
      const at = until.get(host);
      if (at === undefined) return false;
      if (at > clock.now()) return true;
      until.delete(host);
      return false;
    },
  };
}
