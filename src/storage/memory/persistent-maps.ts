import { Database } from "bun:sqlite";
import { crc32 } from "node:zlib";
import { concatBytes, HEAD_BYTES_MAX, type SourceBody } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { QueueError } from "../../mail/queue-error.ts";
import type { MessageRow } from "../message-row.ts";
import { envelopeOf, readRecord, recordText } from "../record.ts";
import { storeError } from "../store-error.ts";
import { chunksOf } from "./memory-body.ts";
import type { MapLike } from "./memory-storage.ts";

/** The two maps of a memory engine that outlive its process. */
export interface PersistentMaps {
  /** For `MapOptions.envelopes`. */
  readonly envelopes: MapLike<Envelope>;
  /** For `MapOptions.meta`. */
  readonly meta: MapLike<MessageRow>;
  /** Writes everything out and lets the file go; after the storage over the maps is closed. */
  close(): void;
}

/** A streamed body is kept apart from the ones that were in memory: it comes back as a stream. */
const STREAMED = 1;
const FORMAT = 1;

/**
 * The parent's `shelve`: two maps in one SQLite file, for `openMemoryStorage`. Each `set` and `delete` by itself outlives the
 * process however it ends; a power cut may take back the latest of them, in order, and never damages the file. What takes
 * several of them is not one step: a crash in the middle of writing several envelopes, or of a settlement with its
 * notifications, leaves the first ones done. Who needs P1 to P4 takes the disk engine. One process at a time.
 */
export function openPersistentMaps(path: string): PersistentMaps {
  const db = new Database(path, { create: true, strict: true });
  try {
    prepare(db);
  } catch (cause) {
    db.close();
    throw storeError(`cannot open ${path}`, cause);
  }
  return {
    envelopes: mapOver(db, "envelope", encodeEnvelope, decodeEnvelope),
    meta: mapOver(db, "meta", encodeRow, decodeRow),
    close: () => db.close(),
  };
}

function prepare(db: Database): void {
  // Held from the first write to the end: a second process finds out at once.
  db.run("PRAGMA locking_mode = EXCLUSIVE");
  db.run("PRAGMA journal_mode = WAL");
  db.run("PRAGMA synchronous = NORMAL");
  const { user_version: found } = db.query("PRAGMA user_version").get() as { user_version: number };
  if (found > FORMAT) throw new Error(`its format is ${found}; this version knows ${FORMAT}`);
  for (const table of ["envelope", "meta"]) {
    db.run(
      `CREATE TABLE IF NOT EXISTS ${table} (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID`,
    );
  }
  db.run(`PRAGMA user_version = ${FORMAT}`);
}

function mapOver<V>(
  db: Database,
  table: string,
  encode: (key: string, value: V) => Uint8Array,
  decode: (key: string, bytes: Uint8Array) => V,
): MapLike<V> {
  const one = db.query<{ value: Uint8Array }, [string]>(`SELECT value FROM ${table} WHERE key = ?`);
  const all = db.query<{ key: string; value: Uint8Array }, []>(`SELECT key, value FROM ${table}`);
  const put = db.query(`INSERT OR REPLACE INTO ${table} VALUES (?, ?)`);
  const remove = db.query(`DELETE FROM ${table} WHERE key = ?`);
  return {
    get: (key) =>
      guarded(() => {
        const found = one.get(key);
        return found === null ? undefined : decode(key, found.value);
      }),
    set: (key, value) => guarded(() => put.run(key, encode(key, value))),
    delete: (key) => guarded(() => remove.run(key).changes > 0),
    values: () => guarded(() => all.all().map(({ key, value }) => decode(key, value))),
  };
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw storeError("the file of the queue cannot be read or written", cause);
  }
}

function encodeRow(_: string, row: MessageRow): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(row));
}

function decodeRow(_: string, bytes: Uint8Array): MessageRow {
  return JSON.parse(new TextDecoder().decode(bytes)) as MessageRow;
}

/** CRC-32 of the rest, whether the body was a stream, the record's length, the record and the body. */
function encodeEnvelope(id: string, envelope: Envelope): Uint8Array {
  const { content, ...facts } = envelope;
  const { prefix, body } = content;
  const bytes = body.kind === "bytes" ? body.bytes : concatBytes(chunksOf(body));
  const place = { bodyOffset: 0, bodyLength: bytes.length };
  const text = new TextEncoder().encode(recordText({ id, envelope: facts, due: 0, ...place }));
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint8(4, body.kind === "source" ? STREAMED : 0);
  view.setUint32(5, 4 + text.length + prefix.length);
  view.setUint32(9, text.length);
  const whole = concatBytes([head, text, prefix, bytes]);
  new DataView(whole.buffer).setUint32(0, crc32(whole.subarray(4)));
  return whole;
}

function decodeEnvelope(id: string, whole: Uint8Array): Envelope {
  const view = new DataView(whole.buffer, whole.byteOffset, whole.byteLength);
  const isSound = whole.length >= 13 && view.getUint32(0) === crc32(whole.subarray(4));
  const end = isSound ? 9 + view.getUint32(5) : 0;
  const record = isSound ? readRecord(whole.subarray(9, end)) : undefined;
  if (record?.id !== id) throw new QueueError(`message ${id} is damaged and stays where it is`);
  const bytes = whole.subarray(end);
  return envelopeOf(
    record,
    view.getUint8(4) === STREAMED ? streamOf(bytes) : { kind: "bytes", bytes },
  );
}

function streamOf(bytes: Uint8Array): SourceBody {
  return {
    kind: "source",
    size: bytes.length,
    head: bytes.subarray(0, HEAD_BYTES_MAX),
    async *stream() {
      yield bytes;
    },
  };
}
