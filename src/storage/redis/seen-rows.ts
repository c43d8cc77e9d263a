import type { SeenRow } from "./rows.ts";

/**
 * Rows as this node saw them last, so that most settlements need not read them first. Wrong ones do no harm: a change is only
 * made when the version is still the same.
 */
export class SeenRows {
  readonly #rows = new Map<string, SeenRow>();
  readonly #rowsMax: number;

  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax;
  }

  get(id: string): SeenRow | undefined {
    return this.#rows.get(id);
  }

  /** Beyond the limit the oldest goes. */
  note(row: SeenRow): void {
    this.#rows.delete(row.id);
    this.#rows.set(row.id, row);
    if (this.#rows.size <= this.#rowsMax) return;
    const [oldest] = this.#rows.keys();
    if (oldest !== undefined) this.#rows.delete(oldest);
  }

  forget(id: string): void {
    this.#rows.delete(id);
  }
}
