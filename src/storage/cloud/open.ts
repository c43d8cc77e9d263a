import type { World } from "../../lib/world.ts";
import type { Emit } from "../../observe/events.ts";
import { assemble } from "./assemble.ts";
import { CloudStorage } from "./cloud-storage.ts";
import { withKeyPrefix } from "./key-prefix.ts";
import { POLL_MS } from "./news.ts";
import type { ObjectStore } from "./object-store.ts";
import type { WakeUp } from "./wake-up.ts";

export interface CloudStorageOptions {
  /** Octets of fresh messages that stay in memory for their first attempt. */
  readonly freshBytesMax: number;
  /** What the keys of this queue begin with; empty, or with a slash at its end. */
  readonly prefix?: string;
  /** How often one looks what other nodes did. */
  readonly pollMs?: number;
}

export interface CloudStorageParts {
  readonly world: World;
  readonly emit: Emit;
  /** Where the mail is kept. Its conditions must hold: without them two nodes may deliver the same message. */
  readonly objectStore: ObjectStore;
  /** Wakes other nodes; without it they look from time to time. Closed with the storage. */
  readonly wakeUp?: WakeUp;
  /** How much later it is for the store than for this node, in milliseconds. */
  readonly clockDifferenceMs?: () => number;
}

/**
 * Opens a queue over an object store, the parent's `CloudStorage(object_store, message_queue)`. Rejects with `QueueError` when
 * the store cannot be read.
 */
export async function openCloudStorage(
  { freshBytesMax, prefix = "", pollMs = POLL_MS }: CloudStorageOptions,
  { world, emit, objectStore, wakeUp, clockDifferenceMs = () => 0 }: CloudStorageParts,
): Promise<CloudStorage> {
  const store = withKeyPrefix(objectStore, prefix);
  const differenceMs = clockDifferenceMs;
  return new CloudStorage(
    await assemble({ store, wakeUp, differenceMs, world, emit, freshBytesMax, pollMs }),
  );
}
