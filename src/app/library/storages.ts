import { resolve } from "node:path";
import { isStoreUrl, type StoreUrl } from "../../config/store-url.ts";
import type { Envelope } from "../../mail/envelope.ts";
import type { ObjectStore } from "../../storage/cloud/object-store.ts";
import { openCloudStorage as openCloud } from "../../storage/cloud/open.ts";
import type { WakeUp } from "../../storage/cloud/wake-up.ts";
import type { DiskStorage } from "../../storage/disk/disk-storage.ts";
import { type DiskStorageOptions, openDiskStorage as openDisk } from "../../storage/disk/open.ts";
import {
  type MapLike,
  type MemoryStorageOptions,
  openMemoryStorage as openMemory,
} from "../../storage/memory/memory-storage.ts";
import type { MessageRow } from "../../storage/message-row.ts";
import type { QueueStorage } from "../../storage/storage.ts";
import { diskOptions, openStorage as openConfigured } from "../open-storage.ts";
import { type Embedding, stockConfig, surroundings } from "./stock.ts";

/**
 * Opens a storage by what `--spool` takes: the path of a directory, or the URL of a store (`redis://...`, `postgres://...`,
 * `memory:` and the others that README lists). Rejects with `TypeError` when that cannot be read, with `StoreConfigError`
 * when the store would not keep what it confirms or refuses this user, with `LockedError` when another process has the
 * directory, and with `QueueError` when the store cannot be used at the moment.
 */
export async function openStorage(spool: string, given: Embedding = {}): Promise<QueueStorage> {
  const told = isStoreUrl(spool) ? { url: spool } : { dir: resolve(spool) };
  return await openConfigured(stockConfig({ spool: told }), surroundings(given));
}

/** Opens the queue in a Redis, the parent's `RedisStorage`, by a URL that `--spool` takes. Rejects as `openStorage` does. */
export async function openRedisStorage(url: string, given: Embedding = {}): Promise<QueueStorage> {
  return await openUrl("redis", url, given);
}

/** Opens the queue in a PostgreSQL database by a URL that `--spool` takes. Rejects as `openStorage` does. */
export async function openPostgresStorage(
  url: string,
  given: Embedding = {},
): Promise<QueueStorage> {
  return await openUrl("postgres", url, given);
}

/** Opens the queue in a bucket of S3 by a URL that `--spool` takes. Rejects as `openStorage` does. */
export async function openS3Storage(url: string, given: Embedding = {}): Promise<QueueStorage> {
  return await openUrl("s3", url, given);
}

/** What holds the mail, and what wakes others. */
export interface CloudOptions extends Embedding {
  /** Where mail is kept. Its conditions must hold: without them two nodes may deliver the same message. */
  readonly objectStore: ObjectStore;
  /** Wakes other nodes; without it they look from time to time. Closed with the storage. */
  readonly messageQueue?: WakeUp;
  /** What the keys of this queue begin with: empty, or with a slash at its end. */
  readonly prefix?: string;
  /** How often to look what other nodes did; every second by default. */
  readonly pollMs?: number;
  /** How much later it is for the store than for this node, in milliseconds; 0 by default. */
  readonly clockDifferenceMs?: () => number;
}

/** Opens a queue over any object store, the parent's `CloudStorage(object_store, message_queue)`. Rejects with `QueueError`. */
export async function openCloudStorage({
  objectStore,
  messageQueue,
  clockDifferenceMs,
  ...options
}: CloudOptions): Promise<QueueStorage> {
  return await openCloud(
    { freshBytesMax: stockConfig().spool.memory, ...options },
    {
      ...{ ...surroundings(options), objectStore },
      ...(messageQueue && { wakeUp: messageQueue }),
      ...(clockDifferenceMs && { clockDifferenceMs }),
    },
  );
}

async function openUrl(
  kind: StoreUrl["kind"],
  url: string,
  given: Embedding,
): Promise<QueueStorage> {
  const config = stockConfig({ spool: { url } });
  if (config.spool.url?.kind !== kind) throw new TypeError(`that is no URL of ${kind}`);
  return await openConfigured(config, surroundings(given));
}

/** `directory` must be said; the rest is as in the executable: 64 MiB of fresh mail, 512 MiB and 10 % free. */
export interface DiskOptions extends Partial<DiskStorageOptions>, Embedding {
  /** Made when it is missing, readable by its owner only. One process at a time uses it. */
  readonly directory: string;
}

/** Opens the disk engine, the parent's `DiskStorage`. Rejects as `openStorage` does. */
export async function openDiskStorage(options: DiskOptions): Promise<DiskStorage> {
  return await openDisk({ ...diskOptions(stockConfig()), ...options }, surroundings(options));
}

/** Two maps, if they should outlive the storage or lie anywhere else than in this process. */
export interface MapOptions extends Partial<MemoryStorageOptions>, Embedding {
  /** The parent's `env_db`: envelopes by id; a `Map` of its own without it. */
  readonly envelopes?: MapLike<Envelope>;
  /** The parent's `meta_db`: everything that changes, by id. */
  readonly meta?: MapLike<MessageRow>;
}

/**
 * Opens the memory engine, the parent's `DictStorage`, over two maps: plain ones, those of `openPersistentMaps`, or anything
 * that has the four methods of `MapLike`. What a `250` means is up to the maps.
 */
export function openMemoryStorage({
  envelopes,
  meta,
  bodyBytesMax,
  ...given
}: MapOptions = {}): QueueStorage {
  const { world } = surroundings(given);
  const maps = { ...(envelopes && { envelopes }), ...(meta && { meta }) };
  return openMemory(
    { bodyBytesMax: bodyBytesMax ?? stockConfig().smtp.sizeMax },
    { world, ...maps },
  );
}
