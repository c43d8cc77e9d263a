import type { Envelope } from "../mail/envelope.ts";
import type { Reply } from "../mail/reply.ts";

/** Where mail goes next. A relay reports and decides nothing: what to do about an outcome is the queue's business. */
export interface Relay {
  /**
   * Tries to hand one message to its next hop, once, and resolves with exactly one outcome for every recipient of the
   * envelope. Peers, networks and DNS never make it throw; an aborted signal ends it soon with deferred outcomes for
   * whoever is not settled by then.
   */
  deliver(delivery: Delivery, signal: AbortSignal): Promise<readonly Outcome[]>;
  /** What mail for a domain shares its connections and limits with, such as the smarthost. */
  destinationOf(domain: string): string;
  /** Connections by state, for metrics. */
  stats(): { readonly open: number; readonly idle: number };
  /** Connections that are not in use; absent where a delivery leaves none behind. */
  readonly parked?: ParkedConnections;
  /** Says goodbye to idle peers and closes. Idempotent. */
  close(): Promise<void>;
}

/** Connections that wait for more mail, or are being closed, by the destination that they were last used for. */
export interface ParkedConnections {
  /** How many there are. */
  count(destination: string): number;
  /** Says goodbye to those beyond `most`; resolves when they are closed. */
  dismiss(destination: string, most: number): Promise<void>;
}

/** One message on its way to a next hop. */
export interface Delivery {
  /** Its queue id. */
  readonly id: string;
  /** With the pending recipients only; each has its original index. */
  readonly envelope: Envelope;
  /** Completed attempts before this one. */
  readonly attempts: number;
}

/** What one attempt did for one recipient. */
export interface Outcome {
  /** The recipient's index in the envelope as stored. */
  readonly recipient: number;
  /** Taken over by the next hop, to be tried again, or refused for good. */
  readonly kind: "delivered" | "deferred" | "rejected";
  /** What the next hop said, or what stands for it when nobody was reached. */
  readonly reply: Reply;
  /** Who answered; absent when nobody was reached. */
  readonly remote?: Remote;
  /** The command that was answered, as in Postfix's "in reply to RCPT TO command". */
  readonly command?: string;
  /** The next hop announced DSN (RFC 3461) and took over the duty to notify of success. */
  readonly dsnRelayed?: boolean;
  /** DNS, connecting, TLS, EHLO, AUTH: Postfix's `c` of `delays=a/b/c/d`. */
  readonly setupMs: number;
  /** MAIL to the last reply: Postfix's `d`. */
  readonly transferMs: number;
}

/** The next hop that answered. */
export interface Remote {
  /** Its name as it was looked up. */
  readonly host: string;
  /** The address that was reached. */
  readonly ip: string;
  /** The port that was reached. */
  readonly port: number;
  /** Messages this connection carried, this one included. */
  readonly connectionUse: number;
  /** `TLSv1.3 TLS_AES_256_GCM_SHA384`, when encrypted. */
  readonly tls?: string;
  /** The certificate was verified for this host. */
  readonly tlsVerified?: boolean;
}
