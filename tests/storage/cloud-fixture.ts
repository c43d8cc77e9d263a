import type { World } from "../../src/lib/world.ts";
import type { StoreServer } from "../contract/shared-store.ts";
import type { Ceph } from "../support/ceph.ts";
import { ACCESS_KEY, SECRET_KEY } from "../support/ceph.ts";

/** Queues in one bucket, as the contract wants its server. */
export function cephStoreServer(ceph: Ceph, bucket: string): StoreServer {
  const login = `${ACCESS_KEY}:${encodeURIComponent(SECRET_KEY)}`;
  return {
    port: ceph.port,
    url: (queue, port = ceph.port) =>
      `s3://${login}@${bucket}/${queue}?endpoint=http://127.0.0.1:${port}&poll=200ms`,
    crash: () => ceph.crash(),
    restart: () => ceph.restart(),
  };
}

/** As long as a probe waits. */
const LONG_MS = 3000;

/** The same world, in which what is to be done much later does not come: where timers go off at once, it would. */
export function withoutLongWaits(world: World, longMs: number = LONG_MS): World {
  const { clock } = world;
  const after = (delayMs: number, run: () => void) =>
    delayMs < longMs ? clock.after(delayMs, run) : () => undefined;
  return { ...world, clock: { ...clock, after } };
}
