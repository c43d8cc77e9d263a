import { afterAll, beforeAll } from "bun:test";
import { openCloudStorage } from "../../src/storage/cloud/open.ts";
import { storageContract } from "../contract/contract.ts";
import { interruptedContract } from "../contract/interrupted.ts";
import { severalContract } from "../contract/several.ts";
import { CEPH_PEERS, type Ceph, startCeph } from "../support/ceph.ts";
import { describeWithPeers } from "../support/peers.ts";
import { cephStoreServer, withoutLongWaits } from "./cloud-fixture.ts";
import { bucketAt } from "./s3-fixture.ts";

/** The store's clock is as much ahead of the node's in all of these. */
const AHEAD_MS = 12_345;

describeWithPeers(CEPH_PEERS, "the cloud engine on Ceph", () => {
  let ceph: Ceph;
  let bucket: string;
  let queues = 0;
  beforeAll(async () => {
    ceph = await startCeph();
    bucket = await ceph.bucket();
  });
  afterAll(() => ceph[Symbol.asyncDispose]());

  storageContract("cloud on Ceph", async (world) => {
    const objectStore = bucketAt(ceph.endpoint, bucket);
    queues += 1;
    await objectStore.check(`q${queues}/probe`);
    const storage = await openCloudStorage(
      { freshBytesMax: 1024 * 1024, prefix: `q${queues}/` },
      {
        world: withoutLongWaits(world),
        emit: () => undefined,
        objectStore,
        clockDifferenceMs: () => AHEAD_MS,
      },
    );
    return { storage, hasNews: true, isCostly: true, [Symbol.asyncDispose]: () => storage.close() };
  });

  severalContract("cloud on Ceph", () => cephStoreServer(ceph, bucket));
  interruptedContract("cloud on Ceph", () => cephStoreServer(ceph, bucket));
});
