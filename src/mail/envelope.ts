import type { Content } from "./content.ts";

/** One message on its way: who sent it, to whom, and what. Immutable; policies return new ones. */
export interface Envelope {
  /** The return path as given; empty for the null reverse-path (RFC 5321 §4.5.5). */
  readonly sender: string;
  /** Whom it is for, each with its index; never empty where it is stored. */
  readonly recipients: readonly Recipient[];
  /** The message itself, header and body. */
  readonly content: Content;
  /** Who handed it in. */
  readonly client: Client;
  /** The host name that received the message, for `Received` and `Reporting-MTA`. */
  readonly receiver: string;
  /** When it was received, in milliseconds since the epoch. */
  readonly receivedAt: number;
  /** What the sender asked of notifications (RFC 3461); empty when nothing. */
  readonly dsn: DsnRequest;
  /** The client declared 8-bit content (RFC 6152). */
  readonly eightBit: boolean;
  /** The client asked for SMTPUTF8 (RFC 6531). */
  readonly smtpUtf8: boolean;
}

/** One forward-path. Its index in the envelope that was stored is its name for ever: outcomes and settlements use it. */
export interface Recipient {
  /** Its place in the envelope as stored, from 0; also where the others are gone. */
  readonly index: number;
  /** As given, letter case and all. */
  readonly address: string;
  /** RFC 3461 §4.1; absent when the client did not say. `NEVER` stands alone. */
  readonly notify?: readonly Notify[];
  /** RFC 3461 §4.2, decoded: `rfc822;someone@example.org`. */
  readonly orcpt?: string;
}

/** When a sender wants to hear of a recipient (RFC 3461 §4.1). */
export type Notify = "NEVER" | "SUCCESS" | "FAILURE" | "DELAY";

/** RFC 3461 §4.3, §4.4. */
export interface DsnRequest {
  /** How much of the message a notification of failure shall bring back: all, or the header. */
  readonly ret?: "FULL" | "HDRS";
  /** Decoded. */
  readonly envid?: string;
}

/** The parent's `client` dictionary: where a message came from. */
export interface Client {
  /** The address of the client, IPv4 or IPv6 without brackets. */
  readonly ip: string;
  /** The verified host name, `localhost` for loopback, else `unknown`. */
  readonly host: string;
  /** What it called itself in EHLO or HELO. */
  readonly name: string;
  /** RFC 3848 and RFC 6531: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP...; `LOCAL` for mail made here. */
  readonly protocol: string;
  /** The authenticated identity, if any. */
  readonly auth?: string;
  /** `TLSv1.3 TLS_AES_256_GCM_SHA384`, if the session was encrypted. */
  readonly tls?: string;
}
