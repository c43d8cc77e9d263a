import type { Client } from "../mail/envelope.ts";
import type { Reply } from "../mail/reply.ts";

/**
 * Everything observable, as typed facts. Logs, metrics and the admin endpoint are projections of these; nothing else
 * writes a log line. Emitting never throws and never waits.
 */
export type Event =
  | AcceptedEvent
  | RefusedEvent
  | ClientEvent
  | DeliveryEvent
  | ExpiredEvent
  | NotificationEvent
  | RemovedEvent
  | OperatorEvent
  | CorruptEvent
  | StorageEvent
  | DestinationEvent
  | LifecycleEvent;

/**
 * One envelope is stored durably, and whoever handed it in is told so. One for each time that is said: mail that comes
 * again under an id that it was given is told of again, since the first time may have ended in a crash before anybody heard.
 */
export interface AcceptedEvent {
  readonly kind: "accepted";
  readonly id: string;
  /** The id in the reply to the client, when policies split the transaction and this is not the first part. */
  readonly firstId?: string;
  readonly client: Client;
  readonly messageId: string;
  readonly sender: string;
  readonly size: number;
  readonly recipientCount: number;
  /** From the first byte of the transaction to the durable write. */
  readonly durationMs: number;
}

/** A command or message of a client was refused. */
export interface RefusedEvent {
  readonly kind: "refused";
  readonly client: Client;
  /** `CONNECT`, `MAIL`, `RCPT`, `DATA`, `AUTH`, `STARTTLS`... */
  readonly command: string;
  readonly reply: Reply;
  readonly sender?: string;
  readonly recipient?: string;
}

export interface ClientEvent {
  readonly kind: "client";
  readonly what: "connected" | "disconnected" | "lost" | "timeout" | "tls-failed";
  readonly ip: string;
  readonly listener: string;
  readonly detail?: string;
}

/** What one attempt did for one recipient: the `to=<...>` line. */
export interface DeliveryEvent {
  readonly kind: "delivery";
  readonly id: string;
  readonly recipient: string;
  readonly domain: string;
  readonly destination: string;
  readonly status: "sent" | "deferred" | "bounced";
  readonly reply: Reply;
  readonly command?: string;
  /** `mx.example[192.0.2.1]:25` or `none`. */
  readonly relay: string;
  readonly connectionUse: number;
  readonly attempt: number;
  /** Since reception. */
  readonly delayMs: number;
  /** Before the queue manager, in it, connection set-up, transmission (Postfix's a/b/c/d). */
  readonly delaysMs: readonly [number, number, number, number];
  /** When it is tried again; only with `deferred`. */
  readonly nextAt?: number;
  readonly tls?: string;
}

/** A message outlived its lifetime: `status=expired, returned to sender`. */
export interface ExpiredEvent {
  readonly kind: "expired";
  readonly id: string;
  readonly sender: string;
}

/** A notification was stored for the sender (RFC 3464). */
export interface NotificationEvent {
  readonly kind: "notification";
  readonly id: string;
  readonly notificationId: string;
  readonly action: "failed" | "delayed" | "delivered" | "relayed";
}

/** A message has left the queue for good. */
export interface RemovedEvent {
  readonly kind: "removed";
  readonly id: string;
}

/** An operator changed something. */
export interface OperatorEvent {
  readonly kind: "operator";
  readonly action: "retry" | "hold" | "release" | "remove" | "bounce" | "flush";
  /** A message id, or what was selected. */
  readonly subject: string;
  readonly count: number;
}

/** A damaged record was moved aside (P6). */
export interface CorruptEvent {
  readonly kind: "corrupt";
  readonly subject: string;
  readonly movedTo: string;
  readonly reason: string;
}

/** Storage went bad or recovered (P7). */
export interface StorageEvent {
  readonly kind: "storage";
  readonly state: "failing" | "recovered";
  readonly operation: string;
  readonly reason: string;
}

/** A destination was throttled after failures, or works again (P9). */
export interface DestinationEvent {
  readonly kind: "destination";
  readonly destination: string;
  readonly state: "suspended" | "resumed";
  readonly reason: string;
}

export interface LifecycleEvent {
  readonly kind: "lifecycle";
  readonly what: "starting" | "ready" | "reloaded" | "draining" | "stopped" | "warning" | "error";
  readonly text: string;
}

/** Takes events. Given to every room that has something to tell. */
export type Emit = (event: Event) => void;

/** One emitter in front of several listeners, each of which may fail without harm to the others. */
export function fanOut(listeners: readonly Emit[]): Emit {
  return (event) => {
    for (const listener of listeners) {
      try {
        listener(event);
      } catch {
        // A listener that fails must not stop mail; there is nobody left to tell.
      }
    }
  };
}
