import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atExit } from "./at-exit.ts";

/** A directory of one test; disposing removes it with all that is in it. */
export interface TempDir extends AsyncDisposable {
  readonly path: string;
  join(...parts: readonly string[]): string;
}

const left = new Set<string>();
atExit("directories", () => {
  for (const path of left) remove(path);
});

/**
 * A fresh, empty directory that other users may pass through (Postfix runs as its own user). It is removed when it is
 * disposed, or else when the process exits. `parent` is the place to make it in, by default the system's own.
 */
export function tempDir(name = "test", parent = tmpdir()): TempDir {
  const path = mkdtempSync(join(parent, `slimta-queue-${name}-`));
  chmodSync(path, 0o755);
  left.add(path);
  return {
    path,
    join: (...parts) => join(path, ...parts),
    async [Symbol.asyncDispose]() {
      left.delete(path);
      remove(path);
    },
  };
}

function remove(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}
