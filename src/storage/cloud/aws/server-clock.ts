const TICK_MS = 1000;
/** How much two clocks drift apart: the estimate is not believed for ever. */
const DRIFT = 50e-6;

/**
 * What a server's clock says, from the `Date` of its answers: whole seconds, which many answers narrow down to about the
 * time that a request takes. The difference stays as it is while no answer contradicts it, 0 at first: two clocks that are
 * right are never shifted.
 */
export class ServerClock {
  #low = Number.NEGATIVE_INFINITY;
  #high = Number.POSITIVE_INFINITY;
  #notedAt = 0;
  #differenceMs = 0;

  /** What the server says is this much later than what this node says, in milliseconds. */
  get differenceMs(): number {
    return this.#differenceMs;
  }

  /** An answer to what was sent and received at these instants of this node's clock. */
  note(date: string | null, sentAt: number, receivedAt: number): void {
    const server = Date.parse(date ?? "");
    if (Number.isNaN(server) || receivedAt < sentAt) return;
    const drift = DRIFT * Math.abs(receivedAt - this.#notedAt);
    this.#notedAt = receivedAt;
    this.#narrow(server - receivedAt, server + TICK_MS - sentAt, drift);
    this.#differenceMs = Math.round(Math.min(Math.max(this.#differenceMs, this.#low), this.#high));
  }

  #narrow(low: number, high: number, drift: number): void {
    const [lowest, highest] = [this.#low - drift, this.#high + drift];
    this.#low = Math.max(low, lowest);
    this.#high = Math.min(high, highest);
    if (this.#low <= this.#high) return;
    const gap = this.#low - this.#high;
    // Servers behind one name are a little apart: the middle. More than that, and a clock was set.
    if (gap < TICK_MS) [this.#low, this.#high] = [this.#high, this.#low];
    else [this.#low, this.#high] = [low, high];
  }
}
