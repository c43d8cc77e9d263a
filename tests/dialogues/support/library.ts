import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseScript, type Script } from "./script.ts";

const ROOT = join(import.meta.dir, "..");

/** A dialogue of the collection. */
export interface NamedScript {
  /** `4.1.1.2-mail/nested`. */
  readonly name: string;
  readonly script: Script;
}

/** All dialogues, by name. Throws when one cannot be read, and says where. */
export function allScripts(): readonly NamedScript[] {
  return readdirSync(ROOT, { recursive: true })
    .map(String)
    .filter((path) => path.endsWith(".smtp"))
    .toSorted()
    .map((path) => {
      try {
        const script = parseScript(readFileSync(join(ROOT, path), "utf8"));
        return { name: path.replace(/\.smtp$/u, ""), script };
      } catch (cause) {
        throw new Error(`tests/dialogues/${path}, ${(cause as Error).message}`, { cause });
      }
    });
}
