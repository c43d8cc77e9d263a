/** One lease; renewing it moves its end. */
export interface Held {
  readonly holder: string;
  until: number;
}

/** Who has leased what until when, as the store has told those who asked. */
export class Leases {
  readonly #held = new Map<string, Held>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  get(id: string): Held | undefined {
    return this.#held.get(id);
  }

  /** Whether somebody has it at this instant. */
  isHeld(id: string): boolean {
    const lease = this.#held.get(id);
    return lease !== undefined && this.#now() < lease.until;
  }

  isHeldBy(id: string, holder: string): boolean {
    return this.isHeld(id) && this.#held.get(id)?.holder === holder;
  }

  take(id: string, holder: string, until: number): void {
    this.#held.set(id, { holder, until });
  }

  renew(id: string, holder: string, until: number): void {
    const lease = this.#held.get(id);
    if (lease !== undefined && this.isHeldBy(id, holder)) lease.until = until;
  }

  release(id: string, holder: string): void {
    if (this.isHeldBy(id, holder)) this.#held.delete(id);
  }

  /** Ends this lease, and none that came after it. */
  end(id: string, lease: Held | undefined): void {
    if (this.#held.get(id) === lease) this.#held.delete(id);
  }

  forget(id: string): void {
    this.#held.delete(id);
  }

  clear(): void {
    this.#held.clear();
  }
}
