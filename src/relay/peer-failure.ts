import type { Reply } from "../mail/reply.ts";

/** How far a session had come: what was being waited for. */
export type Phase =
  | "connect"
  | "greeting"
  | "ehlo"
  | "starttls"
  | "auth"
  | "mail"
  | "rcpt"
  | "data"
  | "content"
  | "end-of-data";

/** Where a session goes, as far as people are told. */
export interface Place {
  readonly host: string;
  readonly ip: string;
  readonly port: number;
}

/** Whatever may go wrong between this host and the next one, as plain data; `classify` says what it means for mail. */
export type PeerFailure =
  | SessionFailure
  | LookupFailure
  /** A negative reply to the command of `phase`. */
  | { readonly kind: "reply"; readonly phase: Phase; readonly reply: Reply }
  /** The message is larger than the peer announced to take (RFC 1870). */
  | { readonly kind: "oversize"; readonly sizeMax: number }
  /** The message needs SMTPUTF8, which the peer does not have (RFC 6531 §3.6). */
  | { readonly kind: "no-utf8" }
  /** An address that cannot be written in a command. */
  | { readonly kind: "bad-address"; readonly whose: "sender" | "recipient" }
  /** The message could not be read back here. */
  | { readonly kind: "unreadable" };

/** No more use of this connection. */
export type SessionFailure =
  /** The socket never opened; `code` is the system's, such as ECONNREFUSED. */
  | { readonly kind: "connect"; readonly code: string }
  | { readonly kind: "timeout"; readonly phase: Phase }
  | { readonly kind: "lost"; readonly phase: Phase }
  /** What came back is not SMTP, or there is no end of it. */
  | { readonly kind: "garbled"; readonly phase: Phase; readonly detail: string }
  | {
      readonly kind: "tls";
      readonly reason: "not-offered" | "handshake" | "unverified";
      readonly detail: string;
    }
  /** Credentials are configured and cannot be used here. */
  | { readonly kind: "auth"; readonly reason: "not-offered" | "clear-text" }
  /** The caller ended the attempt. */
  | { readonly kind: "aborted"; readonly phase: Phase };

/** The next hop could not even be named. `name` is what was looked up. */
export type LookupFailure =
  | { readonly kind: "dns-failed"; readonly name: string; readonly detail: string }
  | { readonly kind: "no-name"; readonly name: string }
  | { readonly kind: "no-host"; readonly name: string }
  | { readonly kind: "null-mx"; readonly name: string }
  | { readonly kind: "loop"; readonly name: string }
  | { readonly kind: "no-domain"; readonly name: string }
  /** A host of the configuration has no address: the operator's matter, never the sender's. */
  | { readonly kind: "no-smarthost"; readonly name: string };

/** What became of one recipient in one transaction. */
export type Answer = { readonly kind: "taken"; readonly reply: Reply } | PeerFailure;
