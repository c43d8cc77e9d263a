import { assert } from "../../lib/assert.ts";
import { type Body, bodySize, contentSize, type SourceBody } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { EPOCH_FIRST, EPOCH_HELD, type MessageRow, newRow } from "../message-row.ts";
import type { Settlement } from "../storage.ts";
import type { Upload, Uploads } from "./bodies.ts";
import type { Argument } from "./connection.ts";
import { encodePart, encodeRecord } from "./record.ts";

/** A message on its way into Redis. */
export interface Entry {
  readonly id: string;
  /** Its recipients numbered by their place. */
  readonly envelope: Envelope;
  readonly due: number;
  readonly settlement?: Settlement | undefined;
}

/** What a script is given of messages: see `add` and `bodies` there. */
export interface Encoded {
  readonly args: readonly Argument[];
  readonly rows: readonly MessageRow[];
  /** Uploaded bodies that the messages take over. */
  readonly uploads: readonly SourceBody[];
}

const NOTHING = new Uint8Array(0);

export interface EncodeParts {
  readonly uploads: Uploads;
  readonly newName: () => string;
  readonly toServer: (instant: number) => number;
}

/** The arguments for these messages. A body that several share is stored once; one alone is part of its record. */
export function encodeMessages(entries: readonly Entry[], parts: EncodeParts): Encoded {
  const bodies = entries.map(({ envelope }) => envelope.content.body);
  const stored = new Map<Body, Upload & { readonly bytes: Uint8Array }>();
  for (const body of bodies) {
    if (stored.has(body)) continue;
    const apart = storedApart(body, bodies, parts);
    if (apart !== undefined) stored.set(body, apart);
  }
  const rows = entries.map(rowOf);
  const messages = entries.flatMap((entry, index) => {
    return messageArgs(entry, rows[index], stored.get(entry.envelope.content.body), parts);
  });
  const apart = [...stored.values()].flatMap((body) => [body.name, body.parts, body.bytes]);
  const uploads = [...stored.keys()].filter((body) => body.kind === "source");
  return { args: [stored.size, ...apart, ...messages], rows, uploads };
}

function storedApart(body: Body, all: readonly Body[], { uploads, newName }: EncodeParts) {
  if (body.kind === "bytes") {
    const isShared = all.indexOf(body) !== all.lastIndexOf(body);
    return isShared ? { name: newName(), parts: 1, bytes: encodePart(body.bytes) } : undefined;
  }
  const upload = uploads.get(body);
  assert(upload !== undefined, "a streamed body was adopted");
  return { ...upload, bytes: NOTHING };
}

function rowOf(entry: Entry): MessageRow {
  return newRow({ ...entry, size: contentSize(entry.envelope.content) }, EPOCH_FIRST);
}

function messageArgs(
  { id, envelope, due }: Entry,
  row: MessageRow | undefined,
  apart: Upload | undefined,
  { toServer }: EncodeParts,
): readonly Argument[] {
  assert(row !== undefined, "every message has a row");
  const { body } = envelope.content;
  const inline = apart === undefined && body.kind === "bytes" ? body.bytes : NOTHING;
  const record = encodeRecord(id, envelope, { due, inline, length: bodySize(body) });
  const { domain, size, receivedAt, sender, recipientCount, state } = row;
  const facts = [domain, size, receivedAt, sender, recipientCount, state ?? ""];
  const held = Number(row.epoch === EPOCH_HELD);
  return [id, toServer(row.due), ...facts, row.attempts, held, record, apart?.name ?? ""];
}
