import { realWorld, type World } from "../../src/lib/world.ts";
import type { Event } from "../../src/observe/events.ts";
import { openRedisStorage } from "../../src/storage/redis/open.ts";
import { readRedisUrl } from "../../src/storage/redis/redis-url.ts";
import type { StoreServer } from "../contract/shared-store.ts";
import type { RedisServer } from "../support/redis.ts";

export const FRESH_BYTES_MAX = 1024 * 1024;

/** Opens a store over the URL of a Redis. */
export async function openStore(
  url: string,
  given: {
    readonly world?: World;
    readonly emit?: (event: Event) => void;
    readonly serverTime?: () => number;
    readonly freshBytesMax?: number;
    readonly silenceMs?: number;
  } = {},
) {
  const address = readRedisUrl(url);
  if (address === undefined) throw new Error(`no URL of Redis: ${url}`);
  const { world = realWorld, emit = () => undefined, freshBytesMax = FRESH_BYTES_MAX } = given;
  return await openRedisStorage(
    { address, freshBytesMax, ...(given.silenceMs && { silenceMs: given.silenceMs }) },
    { world, emit, ...(given.serverTime && { serverTime: given.serverTime }) },
  );
}

/** A Redis as the contract of shared engines sees it. */
export function redisStoreServer({ port, crash, restart }: RedisServer): StoreServer {
  return {
    port,
    url: (queue, through = port) => `redis://127.0.0.1:${through}?prefix=${queue}`,
    crash,
    restart: () => restart(),
  };
}
