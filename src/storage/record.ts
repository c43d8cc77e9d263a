import type { Body, Content } from "../mail/content.ts";
import type { Client, DsnRequest, Envelope, Notify, Recipient } from "../mail/envelope.ts";
import { QueueError } from "../mail/queue-error.ts";
import { isSettlement } from "./message-row.ts";
import type { Settlement } from "./storage.ts";

/** One envelope as it stands in a segment. */
export interface Record {
  readonly id: string;
  readonly envelope: Omit<Envelope, "content">;
  /** When the first attempt was due. */
  readonly due: number;
  readonly prefix: Uint8Array;
  /** Where its BODY block starts, and how many octets the body has. */
  readonly bodyOffset: number;
  readonly bodyLength: number;
  /** The settlement that this record was stored together with, in one step (P4). */
  readonly settles?: { readonly id: string; readonly settlement: Settlement };
}

/** What stands in the JSON part: the format on disk, apart from the types of the program. */
interface RecordJson {
  readonly version: 1;
  readonly id: string;
  readonly sender: string;
  readonly recipients: readonly RecipientJson[];
  readonly client: Client;
  readonly receiver: string;
  readonly receivedAt: number;
  readonly due: number;
  readonly dsn: DsnRequest | undefined;
  readonly eightBit: true | undefined;
  readonly smtpUtf8: true | undefined;
  readonly body: readonly [offset: number, length: number];
  readonly settles: { readonly id: string; readonly settlement: Settlement } | undefined;
}

interface RecipientJson {
  readonly address: string;
  readonly notify: readonly Notify[] | undefined;
  readonly orcpt: string | undefined;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** The JSON of an ENVL block's payload; in front of it is its length, behind it the header prefix. */
export function recordText(record: Omit<Record, "prefix">): string {
  const { envelope, settles } = record;
  const { dsn } = envelope;
  const json: RecordJson = {
    version: 1,
    id: record.id,
    sender: envelope.sender,
    recipients: envelope.recipients.map(recipientJson),
    client: envelope.client,
    receiver: envelope.receiver,
    receivedAt: envelope.receivedAt,
    due: record.due,
    // What is undefined is left out.
    dsn: dsn.ret || dsn.envid ? dsn : undefined,
    eightBit: envelope.eightBit || undefined,
    smtpUtf8: envelope.smtpUtf8 || undefined,
    body: [record.bodyOffset, record.bodyLength],
    settles,
  };
  return JSON.stringify(json);
}

/** Reads a payload whose checksum held. Throws when it is not a record that this version understands. */
export function decodeRecord(payload: Uint8Array): Record {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const length = view.getUint32(0);
  if (4 + length > payload.length) throw new Error("the record ends inside its JSON");
  const json = JSON.parse(decoder.decode(payload.subarray(4, 4 + length))) as RecordJson;
  if (json?.version !== 1) throw new Error(`record version ${json?.version} is not known`);
  if (!isRecord(json)) throw new Error("the record is not made as its version says");
  return {
    id: json.id,
    envelope: {
      sender: json.sender,
      recipients: json.recipients.map(recipientOf),
      client: json.client,
      receiver: json.receiver,
      receivedAt: json.receivedAt,
      dsn: json.dsn ?? {},
      eightBit: json.eightBit ?? false,
      smtpUtf8: json.smtpUtf8 ?? false,
    },
    due: json.due,
    prefix: payload.subarray(4 + length),
    bodyOffset: json.body[0],
    bodyLength: json.body[1],
    ...(json.settles ? { settles: json.settles } : {}),
  };
}

/** A checksum proves that the bytes are as written, not who wrote them: a spool may come out of anybody's backup. */
function isRecord(json: RecordJson): boolean {
  const { recipients, client, body, dsn, settles } = json;
  const texts = [json.sender, json.receiver, client?.ip, client?.host, client?.name];
  return (
    isRecordId(json.id) &&
    texts.every(isText) &&
    isText(client.protocol) &&
    [json.receivedAt, json.due].every(Number.isFinite) &&
    Array.isArray(recipients) &&
    recipients.length > 0 &&
    recipients.every(isRecipient) &&
    Array.isArray(body) &&
    body.length === 2 &&
    body.every((place) => Number.isSafeInteger(place) && place >= 0) &&
    (dsn === undefined || isDsn(dsn)) &&
    (settles === undefined || (isText(settles?.id) && isSettlement(settles?.settlement)))
  );
}

const ID = /^[\w-]{1,64}$/u;

/** Refuses what could not be read back: such mail would be lost when it is read, and not when it is written (P1). */
export function requireStorable(id: string, { recipients }: Pick<Envelope, "recipients">): void {
  if (!isRecordId(id)) throw new QueueError("an id has 1 to 64 letters, digits, _ and -");
  if (recipients.length === 0) throw new QueueError(`message ${id} has no recipients`);
}

/** Whether a record of this id can be read back. */
export function isRecordId(id: unknown): id is string {
  return isText(id) && ID.test(id);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isRecipient(value: RecipientJson | null): boolean {
  if (!isText(value?.address)) return false;
  const { notify, orcpt } = value;
  return (
    (notify === undefined || (Array.isArray(notify) && notify.every(isText))) &&
    (orcpt === undefined || isText(orcpt))
  );
}

function isDsn(value: DsnRequest | null): boolean {
  if (typeof value !== "object" || value === null) return false;
  return [value.ret, value.envid].every((text) => text === undefined || isText(text));
}

/** As `decodeRecord`; `undefined` for what it cannot read. */
export function readRecord(payload: Uint8Array): Record | undefined {
  try {
    return decodeRecord(payload);
  } catch {
    return undefined;
  }
}

/** The envelope of a record, with the bytes found where the record says. */
export function envelopeOf(record: Record, body: Body): Envelope {
  const content: Content = { prefix: record.prefix, body };
  return { ...record.envelope, content };
}

function recipientJson({ address, notify, orcpt }: Recipient): RecipientJson {
  return { address, notify, orcpt };
}

function recipientOf({ address, notify, orcpt }: RecipientJson, index: number): Recipient {
  return { index, address, ...(notify && { notify }), ...(orcpt !== undefined && { orcpt }) };
}
