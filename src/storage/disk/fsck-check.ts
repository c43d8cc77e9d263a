import type { SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";

/** What the parts of a check share. */
export interface Check {
  readonly layout: Layout;
  readonly files: SpoolFiles;
  readonly repair: boolean;
  /** Something is wrong. */
  damage(text: string): void;
  /** Something was left behind, as after any crash. */
  leftover(text: string): void;
}
