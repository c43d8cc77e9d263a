import type { Config } from "../config/config.ts";
import type { World } from "../lib/world.ts";
import type { Emit } from "../observe/events.ts";
import { openS3Storage } from "../storage/cloud/open-s3-storage.ts";
import { shownS3Url } from "../storage/cloud/s3-url.ts";
import { type DiskStorageOptions, openDiskStorage } from "../storage/disk/open.ts";
import { openMemoryStorage } from "../storage/memory/memory-storage.ts";
import { openPostgresStorage } from "../storage/postgres/open.ts";
import { shownPostgresUrl } from "../storage/postgres/options.ts";
import { openRedisStorage } from "../storage/redis/open.ts";
import { shownRedisUrl } from "../storage/redis/redis-url.ts";
import type { QueueStorage } from "../storage/storage.ts";

export interface StorageParts {
  readonly world: World;
  readonly emit: Emit;
}

/** Opens the store that the configuration asks for: the only place that knows all engines. */
export async function openStorage(config: Config, parts: StorageParts): Promise<QueueStorage> {
  const { url } = config.spool;
  if (url === null) return await openDiskStorage(diskOptions(config), parts);
  switch (url.kind) {
    case "memory":
      parts.emit({ kind: "lifecycle", what: "warning", text: MEMORY_WARNING });
      return openMemoryStorage({ bodyBytesMax: config.smtp.sizeMax }, parts);
    case "redis": {
      const options = { address: url.address, freshBytesMax: config.spool.memory };
      return await openRedisStorage(options, parts);
    }
    case "s3": {
      const { address } = url;
      const options = { address, env: process.env, freshBytesMax: config.spool.memory };
      return await openS3Storage(options, parts);
    }
    case "postgres":
      return await openPostgresStorage(url, parts);
  }
}

const MEMORY_WARNING =
  "the queue is kept in memory (spool memory:): EVERYTHING THAT IS ACCEPTED IS LOST when this process ends";

/** What the configuration says about a spool directory. */
export function diskOptions({ spool }: Config): DiskStorageOptions {
  return {
    directory: spool.dir,
    freshBytesMax: spool.memory,
    freeBytesMin: spool.freeMin,
    freePercentMin: spool.freeMinPercent * 100,
  };
}

/** What to call the store in a log or a terminal: its directory, or its URL without a login. */
export function storeName({ spool }: Config): string {
  if (spool.url === null) return spool.dir;
  switch (spool.url.kind) {
    case "memory":
      return "memory:";
    case "redis":
      return shownRedisUrl(spool.url.address);
    case "s3":
      return shownS3Url(spool.url.address);
    case "postgres":
      return shownPostgresUrl(spool.url.url);
  }
}

/** What becomes of mail when the process ends, in a few words. */
export function fateText({ spool }: Config): string {
  return spool.url?.kind === "memory"
    ? "what is in the queue is lost: it was kept in memory"
    : "everything that was accepted is kept";
}
