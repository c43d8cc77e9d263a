import { idMaker } from "../../lib/id.ts";
import { StoreConfigError } from "../store-config-error.ts";
import type { Environment } from "./aws/provider.ts";
import { type ClientsParts, openClients } from "./clients.ts";
import type { CloudStorage } from "./cloud-storage.ts";
import { probeKey } from "./keys.ts";
import { withOwnConditions } from "./only-node.ts";
import { openCloudStorage } from "./open.ts";
import { type S3Address, shownS3Url } from "./s3-url.ts";

export interface S3StorageOptions {
  readonly address: S3Address;
  /** What the process was started with: credentials and a region may stand there. */
  readonly env: Environment;
  /** Octets of fresh messages that stay in memory for their first attempt. */
  readonly freshBytesMax: number;
}

/**
 * Opens the queue that a URL of S3 names. Rejects with `StoreConfigError` when somebody has to change something first, also
 * when the store has no conditional writes and nobody promised that this is the only node; with `QueueError` when the store
 * cannot be used at the moment.
 */
export async function openS3Storage(
  { address, env, freshBytesMax }: S3StorageOptions,
  parts: ClientsParts,
): Promise<CloudStorage> {
  const { world, emit } = parts;
  const { prefix, pollMs, isOnlyNode } = address;
  const key = `${prefix}${probeKey(idMaker(world.clock.now, world.random)())}`;
  const { store, traits, wakeUp } = await openClients({ address, env, probeKey: key }, parts);
  if (!traits.isConditional && !isOnlyNode) {
    await wakeUp?.close();
    throw new StoreConfigError(
      `${shownS3Url(address)}: this store has no conditional writes, so that two nodes might deliver the same mail. ` +
        "Use a store that has, or promise with nodes=1 that no other process uses this queue",
    );
  }
  return await openCloudStorage(
    { freshBytesMax, prefix, ...(pollMs !== null && { pollMs }) },
    {
      ...{ world, emit, clockDifferenceMs: () => store.clockDifferenceMs() },
      objectStore: traits.isConditional ? store : withOwnConditions(store),
      ...(wakeUp && { wakeUp }),
    },
  );
}
