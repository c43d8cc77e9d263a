import { QueueError } from "../../mail/queue-error.ts";
import { storeError } from "../store-error.ts";
import type { Committer } from "./committer.ts";
import type { SpoolFiles } from "./files.ts";
import type { SpaceWatch } from "./space.ts";
import type { Trouble } from "./trouble.ts";

export interface ProbeParts {
  readonly files: SpoolFiles;
  readonly committer: Committer;
  readonly trouble: Trouble;
  readonly space: SpaceWatch;
}

/** Does one small durable write, and nothing that outlives it. Rejects with `QueueError`, saying what is wrong. */
export async function probeSpool({ files, committer, trouble, space }: ProbeParts): Promise<void> {
  if (trouble.reason !== undefined) throw new QueueError(trouble.reason);
  await space.measure();
  const refusal = space.refusal();
  if (refusal !== undefined) throw new QueueError(refusal);
  try {
    await writeOnce(files, committer.scratchPath());
  } catch (cause) {
    throw storeError("the spool cannot be written", cause);
  }
}

async function writeOnce(files: SpoolFiles, path: string): Promise<void> {
  const fd = files.create(path);
  try {
    files.append(fd, new Uint8Array(1));
    await files.syncData(fd);
  } finally {
    files.close(fd);
    await files.unlink(path);
  }
}
