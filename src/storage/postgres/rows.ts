import type { MessageRow } from "../message-row.ts";

/** A row of the table `message`, as `COLUMNS` selects it. */
export type Row = MessageRow;

export const COLUMNS = `id, epoch, due, domain, size, attempts, received_at AS "receivedAt", sender,
  recipients AS "recipientCount", state`;
