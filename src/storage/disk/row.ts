import type { MessageRow } from "../message-row.ts";

/** One row of queue.db: a message's state, and where its record is. */
export interface Row extends MessageRow {
  readonly segment: number;
  /** Where its ENVL block starts, and how long the block's payload is. */
  readonly offset: number;
  readonly length: number;
}
