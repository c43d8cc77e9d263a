import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Mutation } from "./mutation.ts";
import { ORDER, STORAGE } from "./of-storage.ts";
import { QUEUE, SAFETY } from "./of-the-path.ts";
import { type SyncDetectors, withoutSyncs } from "./syncs.ts";

/** What notices a sync that was left out. */
const SYNC_DETECTORS: SyncDetectors = {
  usual: ["tests/power-cut"],
  // It makes nothing durable: it asks whether the disk still does.
  byFile: { "src/storage/disk/probe.ts": ["tests/storage/faults.test.ts"] },
};

/** Every mutation of the tree at `root`: the ones that somebody thought of, and one for each sync in the code. */
export function allMutations(root: string): readonly Mutation[] {
  const files = [...new Bun.Glob("src/storage/**/*.ts").scanSync({ cwd: root })].toSorted();
  const syncs = files.flatMap((file) =>
    withoutSyncs(file, readFileSync(join(root, file), "utf8"), SYNC_DETECTORS),
  );
  return [...syncs, ...ORDER, ...STORAGE, ...QUEUE, ...SAFETY];
}
