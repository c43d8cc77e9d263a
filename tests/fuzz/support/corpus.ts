import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** One input that once found a defect, or that a fuzzer should begin with. Its name says why it is kept. */
export interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const CORPUS = join(import.meta.dir, "..", "corpus");

/** The samples of one target, `tests/fuzz/corpus/<target>/*`, by name; none when it has no directory. */
export function corpus(target: string): readonly Sample[] {
  const dir = join(CORPUS, target);
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .toSorted()
    .map((name) => ({ name, bytes: new Uint8Array(readFileSync(join(dir, name))) }));
}
