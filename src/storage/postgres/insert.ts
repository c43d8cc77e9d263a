import { crc32 } from "node:zlib";
import type { ReservedSQL } from "bun";
import { assert } from "../../lib/assert.ts";
import { concatBytes, contentSize, type SourceBody } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { EPOCH_HELD, EPOCH_LEASED, newRow } from "../message-row.ts";
import { recordText } from "../record.ts";
import type { Settlement } from "../storage.ts";
import { epochOf, type Tables } from "./schema.ts";
import type { StoreTime } from "./store-time.ts";
import { leaveInTime, type Step } from "./transaction.ts";

/** A message that is about to be stored. */
export interface NewMessage {
  readonly id: string;
  /** Its recipients are numbered by their place. */
  readonly envelope: Envelope;
  readonly due: number;
  readonly lease?: { readonly holder: string; readonly until: number };
  readonly settlement?: Settlement;
}

/** The ids of bodies that lie in the database already. */
export type StoredBodies = WeakMap<SourceBody, string>;

export interface Inserter {
  /**
   * Stores all of them in one step of its own, in one statement; fails when an id is taken. Resolves with false, and nothing
   * is stored, when it came to the database too late for whoever waits.
   */
  insertFresh(
    connection: ReservedSQL,
    messages: readonly NewMessage[],
    step: Step,
  ): Promise<boolean>;
  /** Sends what stores all of them; resolves with the ids that were not stored before. Not durable before the commit. */
  insert(connection: ReservedSQL, messages: readonly NewMessage[]): Promise<ReadonlySet<string>>;
}

/** The small facts in one parameter as JSON, all bytes in another one behind each other. */
const GIVEN = `given AS (
  SELECT * FROM json_to_recordset($1::text::json) AS given (
    id text, held boolean, due float8, domain text, size float8, attempts int, received_at float8, sender text,
    recipients int, state text, holder text, lease_ms float8, crc bigint, at int, envelope int, bytes int, body text))`;

/** The statements that store messages, each the same for one and for a hundred. */
export function openInserter(
  tables: Tables,
  time: StoreTime,
  bodies: Pick<StoredBodies, "get">,
): Inserter {
  const { message, record } = tables;
  // Whoever inserts the same ids does it in the same order: nobody waits in a circle.
  const intoMessage = (from: string): string => `
    INSERT INTO ${message} (id, epoch, due, domain, size, attempts, received_at, sender, recipients, state, holder,
      lease_until)
    SELECT id, CASE WHEN held THEN ${EPOCH_HELD} WHEN holder IS NULL THEN ${epochOf(tables)} ELSE ${EPOCH_LEASED} END,
      due, domain, size, attempts, received_at, sender, recipients, state, holder, ${time.sql("$3")} + lease_ms
    FROM ${from} ORDER BY id COLLATE "C"`;
  const intoRecord = (from: string): string => `
    INSERT INTO ${record} (id, crc, envelope, bytes, body)
    SELECT id, crc, substring($2::bytea FROM at FOR envelope),
      CASE WHEN body IS NULL THEN substring($2::bytea FROM at + envelope FOR bytes) END, body
    FROM ${from}`;
  const inTime = leaveInTime(tables, { token: "$4", deadline: "$5", now: time.sql("$3") });
  const fresh = `WITH token AS (${inTime}), ${GIVEN}, added AS (${intoMessage("given, token")})
    ${intoRecord("given, token")}`;
  const absent = `WITH ${GIVEN}, added AS (${intoMessage("given")} ON CONFLICT (id) DO NOTHING RETURNING id)
    ${intoRecord("given JOIN added USING (id)")} RETURNING id`;

  const valuesOf = (messages: readonly NewMessage[]): readonly unknown[] => {
    const { facts, bytes } = packed(messages, time, bodies);
    return [JSON.stringify(facts), bytes, time.now()];
  };
  return {
    async insertFresh(connection, messages, { token, deadline }) {
      if (messages.length === 0) return true;
      const { count } = await connection.unsafe(fresh, [...valuesOf(messages), token, deadline]);
      return count > 0;
    },
    async insert(connection, messages) {
      if (messages.length === 0) return new Set();
      const rows = await connection.unsafe(absent, [...valuesOf(messages)]);
      return new Set(rows.map(({ id }: { id: string }) => id));
    },
  };
}

function packed(
  messages: readonly NewMessage[],
  time: StoreTime,
  bodies: Pick<StoredBodies, "get">,
) {
  const pieces: Uint8Array[] = [];
  // Octets are counted from 1 in SQL.
  let at = 1;
  const facts = messages.map((message) => {
    const { id, envelope, lease } = message;
    const { body } = envelope.content;
    const row = newRow({ ...message, size: contentSize(envelope.content) }, 0);
    const payload = payloadOf(message);
    const bytes = body.kind === "bytes" ? body.bytes : new Uint8Array(0);
    const place = { at, envelope: payload.length, bytes: bytes.length };
    pieces.push(payload, bytes);
    at += payload.length + bytes.length;
    return {
      id,
      held: row.epoch === EPOCH_HELD,
      due: row.due,
      domain: row.domain,
      size: row.size,
      attempts: row.attempts,
      received_at: row.receivedAt,
      sender: row.sender,
      recipients: row.recipientCount,
      state: row.state,
      ...(lease && { holder: lease.holder, lease_ms: time.left(lease.until) }),
      ...place,
      crc: crc32(bytes, crc32(payload)),
      ...(body.kind === "source" && { body: placeOf(body, bodies) }),
    };
  });
  return { facts, bytes: concatBytes(pieces) };
}

function placeOf(body: SourceBody, bodies: Pick<StoredBodies, "get">): string {
  const id = bodies.get(body);
  assert(id !== undefined, "a streamed body lies in the database before its message");
  return id;
}

/** Everything of an envelope but its body, in the words of the disk engine's records. */
function payloadOf({ id, envelope, due }: NewMessage): Uint8Array {
  const { content, ...facts } = envelope;
  const { prefix, body } = content;
  const bodyLength = body.kind === "bytes" ? body.bytes.length : body.size;
  const text = new TextEncoder().encode(
    recordText({ id, envelope: facts, due: Math.round(due), bodyOffset: 0, bodyLength }),
  );
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, text.length);
  return concatBytes([head, text, prefix]);
}
