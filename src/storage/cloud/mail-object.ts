import { crc32 } from "node:zlib";
import type { Body } from "../../mail/content.ts";
import { bodySize } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { decodeRecord, type Record, recordText } from "../record.ts";
import { DamagedError } from "../store-error.ts";
import { decodeFrame, encodeFrame, frameLength } from "./frame.ts";
import { isState, type State } from "./state-object.ts";

/** What stands in front of a message's body. */
export interface MailHead {
  readonly record: Record;
  /** The state that the message was stored with. */
  readonly initial: State;
  /** What carried it in its outbox: see `Outbox`. */
  readonly origin?: string;
  readonly body: BodyPlace;
  /** Where the body begins when it stands behind this. */
  readonly end: number;
}

export interface BodyPlace {
  /** The object that the body is; without it, it stands behind the head. */
  readonly name?: string;
  /** CRC-32 of the body. */
  readonly sum: number;
}

const FORMAT = "SQM1";
const NOTHING = new Uint8Array(0);
const encoder = new TextEncoder();

export interface MailParts {
  readonly envelope: Envelope;
  readonly initial: State;
  readonly origin?: string | undefined;
  /** Where the body is when it is an object of its own. */
  readonly apart?: Required<BodyPlace> | undefined;
}

/** The object under `mail/`. */
export function encodeMail({ envelope, initial, origin, apart }: MailParts): Uint8Array {
  const { content, ...facts } = envelope;
  const inline =
    apart === undefined && content.body.kind === "bytes" ? content.body.bytes : NOTHING;
  const place: BodyPlace = apart ?? { sum: crc32(inline) };
  const { id, due } = initial;
  const length = bodySize(content.body);
  const text = encoder.encode(
    recordText({ id, envelope: facts, due, bodyOffset: 0, bodyLength: length }),
  );
  const payload = new Uint8Array(4 + text.length + content.prefix.length);
  new DataView(payload.buffer).setUint32(0, text.length);
  payload.set(text, 4);
  payload.set(content.prefix, 4 + text.length);
  const head = encodeFrame(FORMAT, { initial, origin, body: place }, payload);
  return inline.length === 0 ? head : Buffer.concat([head, inline]);
}

/** How many octets the head has that begins here. Throws `DamagedError`. */
export function headLength(bytes: Uint8Array): number {
  return frameLength(FORMAT, bytes);
}

/** The head of the message with this id, if that matters. Throws `DamagedError`. */
export function decodeHead(bytes: Uint8Array, id?: string): MailHead {
  const { facts, payload, end } = decodeFrame(FORMAT, bytes);
  const { initial, origin, body } = (facts ?? {}) as Partial<MailHead>;
  if (!isState(initial) || typeof body?.sum !== "number") {
    throw new DamagedError("the head is not made as its version says");
  }
  const record = recordOf(payload);
  if (record.id !== initial.id || record.id !== (id ?? record.id)) {
    throw new DamagedError(`it is message ${record.id}`);
  }
  return { record, initial, body, end, ...(origin !== undefined && { origin }) };
}

/** The same for keeping: it holds no piece of the message in memory. */
export function withoutPrefix(head: MailHead): MailHead {
  return { ...head, record: { ...head.record, prefix: NOTHING } };
}

function recordOf(payload: Uint8Array): Record {
  try {
    return decodeRecord(payload);
  } catch (cause) {
    throw new DamagedError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** The body behind a head, all of it. Throws `DamagedError`. */
export function inlineBody({ record, body, end }: MailHead, bytes: Uint8Array): Body {
  const inline = bytes.subarray(end);
  if (inline.length !== record.bodyLength) throw new DamagedError("the body has another length");
  if (crc32(inline) !== body.sum) throw new DamagedError("the body fails its checksum");
  return { kind: "bytes", bytes: inline };
}
