import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Mutation } from "./mutation.ts";
import { MUTATIONS, SYNC_DETECTORS } from "./mutations.ts";
import { withoutSyncs } from "./syncs.ts";

/** Every mutation of the tree at `root`: the ones that somebody thought of, and one for each sync in the code. */
export function allMutations(root: string): readonly Mutation[] {
  const files = [...new Bun.Glob("src/storage/**/*.ts").scanSync({ cwd: root })].toSorted();
  const syncs = files.flatMap((file) =>
    withoutSyncs(file, readFileSync(join(root, file), "utf8"), SYNC_DETECTORS),
  );
  return [...syncs, ...MUTATIONS];
}
