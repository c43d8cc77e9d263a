import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import { storageContract } from "../contract/contract.ts";
import { objectMemory } from "../support/object-memory.ts";
import { withoutLongWaits } from "./cloud-fixture.ts";

/** The store's clock is as much ahead of the node's in all of these. */
const AHEAD_MS = 12_345;

storageContract("cloud", async (world) => {
  const { store } = objectMemory(() => world.clock.now() + AHEAD_MS);
  const storage = await openCloudStorage(
    { freshBytesMax: 1024 * 1024, prefix: "a/queue/" },
    {
      world: withoutLongWaits(world),
      emit: () => undefined,
      objectStore: store,
      clockDifferenceMs: () => AHEAD_MS,
    },
  );
  return { storage, hasNews: true, isInMemory: true, [Symbol.asyncDispose]: () => storage.close() };
});
