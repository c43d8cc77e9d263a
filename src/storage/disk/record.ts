import type { Body, Content } from "../../mail/content.ts";
import type { Client, DsnRequest, Envelope, Notify, Recipient } from "../../mail/envelope.ts";
import type { Settlement } from "../storage.ts";

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
  readonly dsn?: DsnRequest;
  readonly eightBit?: true;
  readonly smtpUtf8?: true;
  readonly body: readonly [offset: number, length: number];
  readonly settles?: { readonly id: string; readonly settlement: Settlement };
}

interface RecipientJson {
  readonly address: string;
  readonly notify?: readonly Notify[];
  readonly orcpt?: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The payload of an ENVL block: the length of the JSON, the JSON, the header prefix. */
export function encodeRecord(record: Record): Uint8Array {
  const { envelope } = record;
  const json: RecordJson = {
    version: 1,
    id: record.id,
    sender: envelope.sender,
    recipients: envelope.recipients.map(recipientJson),
    client: envelope.client,
    receiver: envelope.receiver,
    receivedAt: envelope.receivedAt,
    due: record.due,
    ...(envelope.dsn.ret || envelope.dsn.envid ? { dsn: envelope.dsn } : {}),
    ...(envelope.eightBit ? { eightBit: true } : {}),
    ...(envelope.smtpUtf8 ? { smtpUtf8: true } : {}),
    body: [record.bodyOffset, record.bodyLength],
    ...(record.settles ? { settles: record.settles } : {}),
  };
  const text = encoder.encode(JSON.stringify(json));
  const payload = new Uint8Array(4 + text.length + record.prefix.length);
  new DataView(payload.buffer).setUint32(0, text.length);
  payload.set(text, 4);
  payload.set(record.prefix, 4 + text.length);
  return payload;
}

/** Reads a payload whose checksum held. Throws when it is not a record that this version understands. */
export function decodeRecord(payload: Uint8Array): Record {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const length = view.getUint32(0);
  const json = JSON.parse(decoder.decode(payload.subarray(4, 4 + length))) as RecordJson;
  if (json.version !== 1) throw new Error(`record version ${json.version} is not known`);
  return {
    id: json.id,
    envelope: {
      sender: json.sender,
      recipients: json.recipients.map((recipient, index) => ({ index, ...recipient })),
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
  return {
    address,
    ...(notify ? { notify } : {}),
    ...(orcpt === undefined ? {} : { orcpt }),
  };
}
