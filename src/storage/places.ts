/**
 * Places at destinations, counted for all nodes on one store: a node has as many deliveries under way at a destination as
 * it has places there. What a node has comes back by itself when it does not claim it anew in time.
 */
export interface Places {
  /**
   * Makes all claims in one step. At any moment the places of all nodes at a destination are no more than the limit,
   * unless a node that was silent for too long still uses what it had. Claims of one node must not overlap in time; a late
   * one that a newer one has overtaken changes nothing.
   */
  claim(claims: readonly Claim[], ttlMs: number): Promise<readonly Granted[]>;
}

/** What a node asks for at one destination. */
export interface Claim {
  /** What the mail shares its connections and limits with. */
  readonly destination: string;
  /** Places of all nodes together. */
  readonly limit: number;
  /** What it goes on using, and has afterwards in any case; what it had beyond that is free. */
  readonly keeps: number;
  /** What it is to have at most, if so many are free. */
  readonly takes: number;
  /** What it could use, for the others to know. */
  readonly wants: number;
}

/** How a destination is shared as soon as a claim is made. */
export interface Granted {
  /** What the node has now, for `ttlMs` from when it asked. */
  readonly held: number;
  /** Every node with a claim, this one included, in an order that is the same for all who ask. */
  readonly nodes: readonly NodeShare[];
  /** Where this node is among them; -1 when it wants nothing. */
  readonly self: number;
  /** The store's instant. */
  readonly at: number;
}

/** What one node has and wants. */
export interface NodeShare {
  /** Places that it has. */
  readonly held: number;
  /** Places that it could use. */
  readonly wants: number;
}
