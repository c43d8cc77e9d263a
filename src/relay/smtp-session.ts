import type { SecureVersion } from "node:tls";
import type { Content } from "../mail/content.ts";
import type { Answer, PeerFailure, SessionFailure } from "./peer-failure.ts";
import type { Announced } from "./smtp-commands.ts";
import type { TransactionPlan } from "./smtp-transaction.ts";

/**
 * How much encryption is asked for: none; if it can be had, whatever the certificate; always, whatever the certificate;
 * always, and with a certificate that is valid for the host.
 */
export type TlsMode = "none" | "opportunistic" | "required" | "verify";

/** RFC 5321 §4.5.3.2, in milliseconds. `commandMs` is for EHLO, STARTTLS, AUTH, MAIL, RCPT and RSET. */
export interface SmtpTimeouts {
  /** The TCP connection. */
  readonly connectMs: number;
  /** The banner. */
  readonly greetingMs: number;
  /** The reply to EHLO, STARTTLS, AUTH, MAIL or RCPT. */
  readonly commandMs: number;
  /** The reply to DATA. */
  readonly dataMs: number;
  /** Each piece of the content. */
  readonly dataBlockMs: number;
  /** The reply to the final dot. */
  readonly dataEndMs: number;
  /** The reply to QUIT. */
  readonly quitMs: number;
}

/** How an SMTP session is held. */
export interface SmtpClientOptions {
  /** What EHLO says. */
  readonly ownName: string;
  /** How long each step may take. */
  readonly timeouts: SmtpTimeouts;
  /** Older versions of TLS are refused. */
  readonly tlsVersionMin: SecureVersion;
  /** Certificate authorities in PEM, in place of those that come with the platform. */
  readonly tlsAuthorities?: string;
  /** Credentials may cross the network unencrypted. */
  readonly allowClearTextAuth: boolean;
}

export interface Target {
  /** The name that the certificate is for and that people are told. */
  readonly host: string;
  readonly ip: string;
  readonly port: number;
  readonly tls: TlsMode;
  /** TLS from the first byte (RFC 8314). */
  readonly implicitTls: boolean;
  readonly credentials?: Credentials;
}

/** A login at a next hop (RFC 4954). */
export interface Credentials {
  /** The identity. */
  readonly user: string;
  /** Its password; only sent over TLS, unless told otherwise. */
  readonly password: string;
}

export type Connected =
  | { readonly kind: "connected"; readonly client: SmtpClient }
  | { readonly kind: "failed"; readonly failure: PeerFailure };

/** One open session with one peer, greeted, encrypted and authenticated as asked for. */
export interface SmtpClient {
  readonly target: Target;
  readonly announced: Announced;
  readonly openedAt: number;
  /** Transactions begun so far. */
  readonly uses: number;
  /** `TLSv1.3 TLS_AES_256_GCM_SHA384`, when encrypted. */
  readonly tls: string | undefined;
  /** Alive, and not in a transaction. */
  readonly usable: boolean;
  /** Why the session ended, once it has. */
  readonly failure: SessionFailure | undefined;
  /** Sends one message; never rejects. One at a time. */
  transact(plan: Omit<TransactionPlan, "pipelining">, content: Content): Promise<readonly Answer[]>;
  /** Makes a session usable again whose transaction did not end; false when the session is over. */
  renew(): Promise<boolean>;
  /** Says goodbye and closes; resolves when closed. Idempotent. */
  goodbye(): Promise<void>;
  /** Ends whatever goes on; who waits gets an answer saying so. */
  abort(): void;
  /** Called once, when the session is over for whatever reason. */
  onClosed(run: () => void): void;
}
