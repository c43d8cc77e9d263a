import type { Lease, QueueStorage } from "../../src/storage/storage.ts";
import { type TestWorld, testWorld } from "../storage/fixtures.ts";

/** A store over nothing, and the way to get rid of it. */
export interface OpenedStorage extends AsyncDisposable {
  readonly storage: QueueStorage;
  /** Processes share it and tell each other of mail: `wait` has something to wait for. */
  readonly hasNews?: true;
  /** Bodies are in the memory of this process, for want of another place. */
  readonly isInMemory?: true;
  /** A message costs several requests to a server: a fifth of them has to show the same. */
  readonly isCostly?: true;
}

export type OpenStorage = (world: TestWorld) => Promise<OpenedStorage>;

/** A store with what its tests ask of it again and again. */
export interface Bench extends OpenedStorage {
  readonly world: TestWorld;
  now(): number;
  /** So many, or fewer where each is dear. */
  many(count: number): number;
  lease(limit?: number, holder?: string): Promise<readonly Lease[]>;
  leasedIds(limit?: number, holder?: string): Promise<string[]>;
  listed(): Promise<string[]>;
}

export const LATER = 60_000;

export async function openBench(open: OpenStorage): Promise<Bench> {
  const world = testWorld();
  const {
    storage,
    hasNews,
    isInMemory,
    isCostly,
    [Symbol.asyncDispose]: close,
  } = await open(world);
  const now = () => world.clock.now();
  const lease = (limit = 100, holder = "me") =>
    storage.lease(now(), limit, { holder, until: now() + LATER });
  return {
    storage,
    ...(hasNews && { hasNews }),
    ...(isInMemory && { isInMemory }),
    world,
    now,
    many: (count) => (isCostly ? Math.ceil(count / 5) : count),
    lease,
    leasedIds: async (limit, holder) => (await lease(limit, holder)).map(({ id }) => id),
    listed: async () => (await storage.list({ limit: 1000 })).map(({ id }) => id),
    [Symbol.asyncDispose]: close,
  };
}
