import { isNoFile, namesIn, type SpoolFiles } from "./files.ts";
import { type Layout, segmentIn } from "./layout.ts";
import type { StateDb } from "./state-db.ts";

export interface OrphanParts {
  readonly db: Pick<StateDb, "segment">;
  readonly files: SpoolFiles;
  readonly layout: Layout;
  /** The segments up to this one are known to queue.db, or have ended. */
  readonly indexed: number;
  /** Resolves when what queue.db says is durable. */
  readonly durable: () => Promise<void>;
  readonly isStopped: () => boolean;
}

/** The numbers of the segment files of one shard that queue.db knows nothing of, although it has seen them. */
export function orphansOf(
  shard: string,
  { db, files, layout, indexed }: Pick<OrphanParts, "db" | "files" | "layout" | "indexed">,
): readonly number[] {
  const names = namesIn(files, `${layout.content}/${shard}`);
  const numbers = names.map((name) => segmentIn(shard, name));
  const isOrphan = (number: number | undefined): number is number =>
    number !== undefined && number <= indexed && db.segment(number) === undefined;
  return numbers.filter(isOrphan);
}

/**
 * Removes the files of ended segments that the last process had no time to remove, shard by shard. A file only goes when
 * it is durable that no row needs it. Returns how many went.
 */
export async function removeOrphans(parts: OrphanParts): Promise<number> {
  const { files, layout, durable, isStopped } = parts;
  let count = 0;
  for (const shard of files.list(layout.content)) {
    const orphans = orphansOf(shard, parts);
    if (orphans.length > 0) await durable();
    for (const number of orphans) {
      if (isStopped()) return count;
      if (await isRemoved(layout.segment(number), files)) count += 1;
    }
  }
  return count;
}

/** A directory that has a segment's name is for `fsck` to move aside. */
async function isRemoved(path: string, files: SpoolFiles): Promise<boolean> {
  try {
    await files.unlink(path);
    return true;
  } catch (error) {
    if (isNoFile(error)) return false;
    throw error;
  }
}
