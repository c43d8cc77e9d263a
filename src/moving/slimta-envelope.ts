import { isAscii } from "../mail/address.ts";
import { bytesContent, concatBytes } from "../mail/content.ts";
import type { Client, Envelope } from "../mail/envelope.ts";
import { headerBytes } from "./email-header.ts";
import { INSTANT_MAX, NotImported, safeAddress } from "./imported.ts";
import { readPickle } from "./pickle/pickle.ts";
import {
  bytesIn,
  itemsIn,
  numberIn,
  type Pickled,
  PickledObject,
  PickleError,
  setIn,
  textIn,
} from "./pickle/values.ts";

/** A bounce is in the queue under a name of its own. */
const ENVELOPES = new Set(["slimta.envelope.Envelope", "slimta.bounce.Bounce"]);

/** The parent's `slimta.envelope.Envelope` out of a pickle; received at 0 when it was never told. Throws `NotImported`. */
export function readSlimtaEnvelope(bytes: Uint8Array): Envelope {
  return refusing("envelope", () => {
    const pickled = readPickle(bytes);
    const isEnvelope = pickled instanceof PickledObject && ENVELOPES.has(pickled.name);
    if (!isEnvelope || !(pickled.state instanceof Map)) throw new PickleError("it is no envelope");
    return envelopeIn(pickled.state);
  });
}

/** What the parent keeps of a message beside its envelope. */
export interface SlimtaMeta {
  /** The next attempt, in milliseconds. */
  readonly due: number;
  readonly attempts: number;
  readonly delivered: readonly number[];
}

/** The disk engine's `.meta`. Throws `NotImported`. */
export function readSlimtaMeta(bytes: Uint8Array): SlimtaMeta {
  return refusing("meta", () => {
    const pickled = readPickle(bytes);
    if (!(pickled instanceof Map)) throw new PickleError("it is no dictionary");
    const due = instantOf(numberIn(pickled.get("timestamp")));
    if (due === undefined) throw new PickleError("it has no timestamp");
    const attempts = numberIn(pickled.get("attempts")) ?? 0;
    const delivered = deliveredIn(pickled.get("delivered_indexes"));
    return { due, attempts, delivered };
  });
}

/** Seconds since the epoch, as Python counts them, in milliseconds; `undefined` for what no clock has ever said. */
export function instantOf(seconds: number | undefined): number | undefined {
  const instant = (seconds ?? Number.NaN) * 1000;
  return instant >= 0 && instant <= INSTANT_MAX ? instant : undefined;
}

/** The Redis engine's `delivered_indexes`. Throws `NotImported`. */
export function readSlimtaDelivered(bytes: Uint8Array): readonly number[] {
  return refusing("delivered_indexes", () => deliveredIn(readPickle(bytes)));
}

/**
 * The recipients that certainly have the message. The parent gives its engines the indexes of those that an attempt
 * reached, counted among the recipients that were left then, and the engines add that up as if it were counted among
 * all. A set was written by a first attempt, when all were left: it is right. A list may be of several attempts, and only
 * its first entry is sure to be of the first one; the others may get the message once more, which is better than never.
 */
function deliveredIn(value: Pickled | undefined): readonly number[] {
  const items = itemsIn(value) ?? [];
  const sure = setIn(value) === undefined ? items.slice(0, 1) : items;
  return sure.flatMap((item) => numberIn(item) ?? []);
}

function envelopeIn(state: ReadonlyMap<Pickled, Pickled>): Envelope {
  const message = bytesIn(state.get("message"));
  if (message === undefined && state.get("message") !== null)
    throw new PickleError("it has no body");
  const body = message ?? new Uint8Array(0);
  const header = headerBytes(state.get("headers"));
  const recipients = (itemsIn(state.get("recipients")) ?? []).map(addressIn);
  if (recipients.length === 0) throw new PickleError("it has no recipients");
  const sender = state.get("sender") === null ? "" : addressIn(state.get("sender"));
  return {
    sender,
    recipients: recipients.map((address, index) => ({ index, address })),
    content: bytesContent(concatBytes([header, body])),
    client: clientIn(state.get("client")),
    receiver: textIn(state.get("receiver")) ?? "localhost",
    receivedAt: instantOf(numberIn(state.get("timestamp"))) ?? 0,
    dsn: {},
    eightBit: [header, body].some((bytes) => bytes.some((byte) => byte > 0x7f)),
    smtpUtf8: ![sender, ...recipients].every(isAscii) || header.some((byte) => byte > 0x7f),
  };
}

function addressIn(value: Pickled | undefined): string {
  const address = textIn(value);
  if (address === undefined) throw new PickleError("an address is no text");
  return safeAddress(address);
}

function clientIn(value: Pickled | undefined): Client {
  const client = value instanceof Map ? value : new Map<Pickled, Pickled>();
  const text = (name: string): string => textIn(client.get(name)) ?? "";
  const given = client.get("auth");
  // A name, or the names of who logged in and of whom that is for.
  const auth = textIn(Array.isArray(given) ? given[0] : given);
  return {
    ip: text("ip") || "127.0.0.1",
    host: text("host") || "unknown",
    name: text("name") || "unknown",
    protocol: text("protocol") || "SMTP",
    ...(auth === undefined ? {} : { auth }),
  };
}

function refusing<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof PickleError)) throw cause;
    throw new NotImported(`its ${what} cannot be read: ${cause.message}`, { cause });
  }
}
