/** Who holds what until when. In memory only: one process owns the store, and its leases end with it. */
export class LeaseBook {
  readonly #leases = new Map<string, { readonly holder: string; readonly until: number }>();
  /** No lease ends before this. */
  #earliest = Number.POSITIVE_INFINITY;

  take(id: string, holder: string, until: number): void {
    this.#leases.set(id, { holder, until });
    this.#earliest = Math.min(this.#earliest, until);
  }

  has(id: string): boolean {
    return this.#leases.has(id);
  }

  /** A lease that is over counts for nothing, even when nobody has taken the message since. */
  isHeld(id: string, holder: string, now: number): boolean {
    const lease = this.#leases.get(id);
    return lease?.holder === holder && now < lease.until;
  }

  /** Whether there was one. */
  end(id: string): boolean {
    return this.#leases.delete(id);
  }

  /** The ids whose lease is over at `now`; costs nothing while none can be. They stay in the book until `end`. */
  expired(now: number): readonly string[] {
    if (now < this.#earliest) return [];
    const over: string[] = [];
    this.#earliest = Number.POSITIVE_INFINITY;
    for (const [id, { until }] of this.#leases) {
      if (until <= now) over.push(id);
      this.#earliest = Math.min(this.#earliest, until);
    }
    return over;
  }
}
