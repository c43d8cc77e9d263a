/**
 * Tells other nodes that there is news: the parent's `message_queue`. A hint and never the truth: what it loses, repeats
 * or brings late costs time and nothing else.
 */
export interface WakeUp {
  /** Tells whoever listens of messages that are due. Returns at once and never throws: failing is not the sender's matter. */
  tell(news: readonly News[]): void;
  /**
   * What was told, to one of those who listen; empty when it was time to look anyway. Rejects only when `signal` says so, and
   * waits for that when it was closed.
   */
  listen(signal: AbortSignal): Promise<readonly News[]>;
  /** Nothing more is told or heard. Idempotent. */
  close(): Promise<void>;
}

/** A message that is due. */
export interface News {
  /** Its id. */
  readonly id: string;
  /** When it is due: milliseconds since the epoch, by the store's clock. */
  readonly timestamp: number;
}
