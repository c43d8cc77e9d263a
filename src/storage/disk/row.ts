import { EPOCH_FIRST, type MessageRow } from "../message-row.ts";

/** One row of queue.db: a message's state, and where its record is. */
export interface Row extends MessageRow {
  readonly segment: number;
  /** Where its ENVL block starts, and how long the block's payload is. */
  readonly offset: number;
  readonly length: number;
}

/** Whether every column holds what belongs there: SQLite has no checksums, and a flipped bit may make a text of a number. */
export function isWhole(row: Row): boolean {
  return (
    isText(row.id) &&
    isText(row.domain) &&
    isText(row.sender) &&
    isNumber(row.epoch) &&
    isNumber(row.due) &&
    isNumber(row.segment) &&
    isNumber(row.offset) &&
    isNumber(row.length) &&
    isNumber(row.size) &&
    isNumber(row.attempts) &&
    isNumber(row.receivedAt) &&
    isNumber(row.recipientCount) &&
    row.recipientCount > 0 &&
    (row.state === null || isText(row.state))
  );
}

/**
 * The row with something harmless in each column that does not hold what belongs there. Where its record was is the one
 * thing that cannot be made up: without it the message is moved aside when it is read (P6).
 */
export function soundRow(row: Row): Row {
  if (isWhole(row)) return row;
  const number = (value: number, otherwise = 0) => (isNumber(value) ? value : otherwise);
  const text = (value: string) => (isText(value) ? value : "");
  return {
    id: row.id,
    domain: text(row.domain),
    sender: text(row.sender),
    epoch: number(row.epoch, EPOCH_FIRST),
    due: number(row.due),
    segment: number(row.segment),
    offset: number(row.offset),
    length: number(row.length),
    size: number(row.size),
    attempts: number(row.attempts),
    receivedAt: number(row.receivedAt),
    recipientCount: Math.max(1, number(row.recipientCount, 1)),
    state: isText(row.state) ? row.state : null,
  };
}

function isNumber(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}
