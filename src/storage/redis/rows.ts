import { EPOCH_HELD, EPOCH_LEASED, type MessageRow } from "../message-row.ts";
import type { Tenure } from "../storage.ts";

/** A row as it was in Redis, and what says whether it still is. */
export interface SeenRow extends MessageRow {
  readonly version: string;
  /** Where the body is when it is not in the record. */
  readonly body: string | null;
  readonly lease: Tenure | null;
}

/** The fields that make a row, in the order in which they are asked for. */
export const ROW_FIELDS: readonly string[] = [..."vetdazcsnpkhub"];

/** Reads what `HMGET` with `ROW_FIELDS` says; `null`: there is no such message, `undefined`: it is damaged. */
export function readRow(id: string, fields: readonly unknown[]): SeenRow | null | undefined {
  const [v, e, t, d, a, z, c, s, n, p, k, h, u, b] = fields.map(textOf);
  if (v === null || v === undefined) return null;
  const [due, attempts, size, receivedAt, recipientCount] = [t, a, z, c, n].map(numberOf);
  const epoch = epochOf(numberOf(e), k, h);
  const numbers = [epoch, due, attempts, size, receivedAt, recipientCount];
  if (!numbers.every((number) => Number.isFinite(number)) || d == null || s == null)
    return undefined;
  const [whenDue = 0, tries = 0, octets = 0, received = 0, recipients = 0] = numbers.slice(
    1,
  ) as number[];
  if (recipients < 1) return undefined;
  return {
    id,
    version: v,
    epoch: epoch ?? 0,
    due: whenDue,
    domain: d,
    size: octets,
    attempts: tries,
    receivedAt: received,
    sender: s,
    recipientCount: recipients,
    state: p ?? null,
    lease: h == null ? null : { holder: h, until: Number(u) },
    body: b ?? null,
  };
}

function epochOf(
  epoch: number | undefined,
  held: string | null | undefined,
  holder: string | null | undefined,
) {
  if (held === "1") return EPOCH_HELD;
  return holder == null ? epoch : EPOCH_LEASED;
}

function numberOf(text: string | null | undefined): number | undefined {
  return text == null || text === "" ? undefined : Number(text);
}

function textOf(field: unknown): string | null {
  if (typeof field === "string") return field;
  return field instanceof Uint8Array ? new TextDecoder().decode(field) : null;
}
