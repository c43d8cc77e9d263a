import type { Event } from "../../src/observe/events.ts";
import type { DiskStorage } from "../../src/storage/disk/disk-storage.ts";
import type { SpoolFiles } from "../../src/storage/disk/files.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import { type TempDir, tempDir } from "../support/temp-dir.ts";
import { type TestWorld, testWorld } from "./fixtures.ts";

export const OPTIONS = { freshBytesMax: 1024 * 1024, freeBytesMin: 0, freePercentMin: 0 };

/** A spool directory of one test and the store that is open over it. */
export interface Spool extends AsyncDisposable {
  readonly directory: string;
  readonly world: TestWorld;
  readonly events: Event[];
  readonly storage: DiskStorage;
  /** Closes the store, or leaves it as it lies, and opens another over the same directory or a copy. */
  reopen(files?: SpoolFiles): Promise<DiskStorage>;
  join(...parts: readonly string[]): string;
}

export async function openSpool(
  given: { files?: SpoolFiles; world?: TestWorld; dir?: TempDir } = {},
): Promise<Spool> {
  const dir = given.dir ?? tempDir("spool");
  const world = given.world ?? testWorld();
  const events: Event[] = [];
  const directory = dir.join("spool");
  const open = (files?: SpoolFiles) =>
    openDiskStorage(
      { directory, ...OPTIONS },
      { world, emit: (event) => events.push(event), ...(files && { files }) },
    );
  let storage = await open(given.files);
  return {
    directory,
    world,
    events,
    get storage() {
      return storage;
    },
    async reopen(files) {
      await storage.close();
      storage = await open(files);
      return storage;
    },
    join: (...parts) => dir.join("spool", ...parts),
    async [Symbol.asyncDispose]() {
      await storage.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}
