/** Who holds what until when. In memory only: one process owns the spool, and its leases end with it. */
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

  isHeld(id: string, holder: string): boolean {
    return this.#leases.get(id)?.holder === holder;
  }

  /** Whether there was one. */
  end(id: string): boolean {
    return this.#leases.delete(id);
  }

  /** The ids whose lease is over at `now`; costs nothing while none can be. */
  expired(now: number): readonly string[] {
    if (now < this.#earliest) return [];
    const over: string[] = [];
    this.#earliest = Number.POSITIVE_INFINITY;
    for (const [id, { until }] of this.#leases) {
      if (until <= now) over.push(id);
      else this.#earliest = Math.min(this.#earliest, until);
    }
    return over;
  }
}
