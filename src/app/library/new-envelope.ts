import { realWorld } from "../../lib/world.ts";
import { isAscii } from "../../mail/address.ts";
import { bytesContent } from "../../mail/content.ts";
import type { Client, DsnRequest, Envelope, Recipient } from "../../mail/envelope.ts";
import { withCrlf } from "../../mail/line-endings.ts";
import { ownHostname } from "./stock.ts";

/** What a program knows of a message that it makes. */
export interface NewEnvelope {
  /** The return path; empty for none, and then nobody hears of failures. */
  readonly sender: string;
  /** Addresses, or addresses with what the sender asked for (RFC 3461 §4.1, §4.2). Not empty. */
  readonly recipients: readonly (string | Omit<Recipient, "index">)[];
  /** Header, blank line, body: as text (sent as UTF-8) or as bytes. Lines may end by LF; they are sent with CRLF. */
  readonly message: string | Uint8Array;
  /** Where it came from; this host and the protocol `LOCAL` without it. */
  readonly client?: Client;
  /** The host name that received it; this host's without it. */
  readonly receiver?: string;
  /** When it was received, in milliseconds since the epoch; now without it. */
  readonly receivedAt?: number;
  /** What the sender asked of notifications (RFC 3461 §4.3, §4.4). */
  readonly dsn?: DsnRequest;
}

const SEVEN_BITS = 0x7f;

/** An envelope for `Queue.enqueue`, the parent's `Envelope(sender, recipients)` and its `parse` in one. */
export function newEnvelope(made: NewEnvelope): Envelope {
  const { sender, message, dsn = {}, receiver = ownHostname() } = made;
  const bytes = withCrlf(typeof message === "string" ? new TextEncoder().encode(message) : message);
  const recipients = made.recipients.map((recipient, index) => {
    return typeof recipient === "string" ? { index, address: recipient } : { ...recipient, index };
  });
  const addresses = [sender, ...recipients.map(({ address }) => address)];
  return {
    sender,
    recipients,
    content: bytesContent(bytes),
    client: made.client ?? {
      ip: "127.0.0.1",
      host: "localhost",
      name: receiver,
      protocol: "LOCAL",
    },
    receiver,
    receivedAt: made.receivedAt ?? realWorld.clock.now(),
    dsn,
    eightBit: bytes.some((byte) => byte > SEVEN_BITS),
    smtpUtf8: !addresses.every(isAscii),
  };
}
