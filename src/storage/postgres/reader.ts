import { crc32 } from "node:zlib";
import type { ReservedSQL } from "bun";
import type { Clock } from "../../lib/world.ts";
import type { Envelope } from "../../mail/envelope.ts";
import type { Emit } from "../../observe/events.ts";
import { type Batch, openBatch } from "../batch.ts";
import { storedMessage } from "../message-row.ts";
import { envelopeOf, type Record, readRecord } from "../record.ts";
import { CorruptError, NotFoundError, type StoredMessage } from "../storage.ts";
import type { Bodies, StoredBody } from "./bodies.ts";
import type { Connections } from "./connections.ts";
import type { StoredBodies } from "./insert.ts";
import { COLUMNS, type Row } from "./rows.ts";
import type { Tables } from "./schema.ts";
import type { StoreTime } from "./store-time.ts";
import type { Transactions } from "./transaction.ts";

export interface ReaderParts {
  readonly tables: Tables;
  readonly time: StoreTime;
  readonly clock: Clock;
  readonly connections: Connections;
  readonly transactions: Transactions;
  readonly bodies: Bodies;
  readonly stored: StoredBodies;
  readonly emit: Emit;
}

/** Small messages are read together, up to so many; each has at most `INLINE_BYTES_MAX` octets. */
const ITEMS_MAX = 16;
const LANES = 4;

interface Found extends Row {
  readonly crc: number | null;
  readonly envelope: Uint8Array | null;
  readonly bytes: Uint8Array | null;
  readonly body: string | null;
  readonly bodySize: number | null;
  readonly head: Uint8Array | null;
  readonly headCrc: number | null;
  readonly holder: string | null;
  /** How long it is until its lease is over. */
  readonly leaseLeft: number | null;
}

/**
 * Reads messages. What fails its checksum, or is not whole, is moved to the table `corrupt`, counted and told of, and
 * everything else goes on (P6).
 */
export function openReader(parts: ReaderParts): Batch<string, StoredMessage> {
  const text = statement(parts);
  return openBatch<string, StoredMessage>({
    lanes: LANES,
    itemsMax: ITEMS_MAX,
    weightMax: ITEMS_MAX,
    weigh: () => 1,
    isOneToBlame: () => false,
    async run(ids) {
      const rows: readonly Found[] = await parts.connections.run((connection) =>
        connection.unsafe(text, [connection.array([...ids], "TEXT"), parts.time.now()]),
      );
      const found = new Map(rows.map((row) => [row.id, row]));
      return await Promise.all(
        ids.map((id) => messageOf(id, found.get(id), parts).catch((error: Error) => error)),
      );
    },
  });
}

function statement({ tables, time }: ReaderParts): string {
  const { message, record, body, chunk } = tables;
  const columns = COLUMNS.replace(/^id/u, "message.id").replace(" size,", " message.size,");
  return `
    SELECT ${columns}, record.crc::float8 AS crc, record.envelope, record.bytes, record.body,
      body.size AS "bodySize", chunk.bytes AS head, chunk.crc::float8 AS "headCrc",
      message.holder, message.lease_until - ${time.sql("$2")} AS "leaseLeft"
    FROM ${message} AS message LEFT JOIN ${record} AS record ON record.id = message.id
      LEFT JOIN ${body} AS body ON body.id = record.body
      LEFT JOIN ${chunk} AS chunk ON chunk.body = record.body AND chunk.part = 0
    WHERE message.id = ANY($1)`;
}

async function messageOf(
  id: string,
  found: Found | undefined,
  parts: ReaderParts,
): Promise<StoredMessage> {
  if (found === undefined) throw new NotFoundError(`no message ${id}`);
  const read = readEnvelope(found, parts);
  if (typeof read !== "string") return withLease(storedMessage(found, read), found, parts);
  await moveAside(found, read, parts);
  throw new CorruptError(`message ${id} is damaged: ${read}`);
}

function withLease(
  message: StoredMessage,
  { holder, leaseLeft }: Found,
  { clock }: ReaderParts,
): StoredMessage {
  if (holder === null || leaseLeft === null) return message;
  return { ...message, lease: { holder, until: Math.round(clock.now() + leaseLeft) } };
}

/** The envelope, or what is wrong with it. */
function readEnvelope(found: Found, parts: ReaderParts): Envelope | string {
  const { envelope, bytes, crc } = found;
  if (envelope === null) return "its record is missing";
  if (crc32(bytes ?? new Uint8Array(0), crc32(envelope)) !== crc) {
    return "its record fails its checksum";
  }
  const record = readRecord(envelope);
  if (record?.id !== found.id) return "its record is not one of this message";
  if (found.body === null) {
    return envelopeOf(record, { kind: "bytes", bytes: bytes ?? new Uint8Array(0) });
  }
  const body = bodyOf(found, found.body, record);
  if (typeof body === "string") return body;
  const source = parts.bodies.source(body, (reason) => {
    // Whoever reads the stream is told by its end.
    void moveAside(found, reason, parts).catch(() => undefined);
  });
  parts.stored.set(source, body.id);
  return envelopeOf(record, source);
}

function bodyOf(found: Found, id: string, record: Record): StoredBody | string {
  const { bodySize: size, head, headCrc } = found;
  if (size !== record.bodyLength) return "its body is not as long as it was";
  if (size === 0) return { id, size, head: new Uint8Array(0) };
  if (head === null || crc32(head) !== headCrc) return "the head of its body fails its checksum";
  return { id, size, head };
}

async function moveAside(found: Found, reason: string, parts: ReaderParts): Promise<void> {
  const { tables, transactions, emit } = parts;
  const { message, record, corrupt, tally } = tables;
  const { id, envelope: _, bytes: __, head: ___, ...facts } = found;
  const isMoved = await transactions.run(async (connection: ReservedSQL) => {
    const gone = await connection.unsafe(`DELETE FROM ${message} WHERE id = $1 RETURNING id`, [id]);
    if (gone.length === 0) return false;
    await Promise.all([
      connection.unsafe(
        `WITH gone AS (DELETE FROM ${record} WHERE id = $1 RETURNING *)
         INSERT INTO ${corrupt} SELECT $1, statement_timestamp(), $2, $3, crc, envelope, bytes, body
         FROM (SELECT) AS one LEFT JOIN gone ON true`,
        [id, reason, JSON.stringify(facts)],
      ),
      connection.unsafe(`INSERT INTO ${tally} (corrupt) VALUES (1)`),
    ]);
    return true;
  });
  if (!isMoved) return;
  emit({ kind: "corrupt", subject: id, movedTo: `table ${corrupt}`, reason });
}
