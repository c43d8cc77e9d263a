/** How much of the latest is kept. */
const LINES = 60;
/** What happens is hashed in pieces of about this length. */
const PIECE_CHARS = 100_000;

/** Everything that happens, in its order: the latest of it to read, and a digest of all of it. */
export class Trail {
  readonly #now: () => number;
  readonly #hash = new Bun.CryptoHasher("sha256");
  readonly #latest: { readonly at: number; readonly line: string }[] = [];
  #piece = "";

  constructor(now: () => number) {
    this.#now = now;
  }

  note(line: string): void {
    const at = this.#now();
    this.#latest.push({ at, line });
    if (this.#latest.length > 2 * LINES) this.#latest.splice(0, LINES);
    this.#piece += `${at} ${line}\n`;
    if (this.#piece.length > PIECE_CHARS) this.#hashPiece();
  }

  latest(): readonly string[] {
    return this.#latest
      .slice(-LINES)
      .map(({ at, line }) => `${new Date(at).toISOString()} ${line}`);
  }

  /** To be asked once, at the end. */
  digest(): string {
    this.#hashPiece();
    return this.#hash.digest("hex");
  }

  #hashPiece(): void {
    this.#hash.update(this.#piece);
    this.#piece = "";
  }
}
