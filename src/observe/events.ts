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
  /** The envelope's own id. */
  readonly id: string;
  /** The id in the reply to the client, when policies split the transaction and this is not the first part. */
  readonly firstId?: string;
  /** Who handed it in. */
  readonly client: Client;
  /** The `Message-ID` with its brackets; empty when there is none. */
  readonly messageId: string;
  /** The return path; empty for the null sender. */
  readonly sender: string;
  /** Octets of content. */
  readonly size: number;
  /** Recipients of this envelope. */
  readonly recipientCount: number;
  /** From the first byte of the transaction to the durable write. */
  readonly durationMs: number;
}

/** A command or message of a client was refused. */
export interface RefusedEvent {
  readonly kind: "refused";
  /** Who was refused. */
  readonly client: Client;
  /** `CONNECT`, `MAIL`, `RCPT`, `DATA`, `AUTH`, `STARTTLS`... */
  readonly command: string;
  /** What it was told. */
  readonly reply: Reply;
  /** The return path, as far as the transaction had come. */
  readonly sender?: string;
  /** Who was refused, when it was one recipient. */
  readonly recipient?: string;
}

/** A connection of a client began or ended. */
export interface ClientEvent {
  readonly kind: "client";
  /** `lost` is one that broke; `timeout` one that was silent for too long. */
  readonly what: "connected" | "disconnected" | "lost" | "timeout" | "tls-failed";
  /** The client's address. */
  readonly ip: string;
  /** Where it connected to: host and port. */
  readonly listener: string;
  /** More words for people, where there are any. */
  readonly detail?: string;
}

/** What one attempt did for one recipient: the `to=<...>` line. */
export interface DeliveryEvent {
  readonly kind: "delivery";
  /** The message's id. */
  readonly id: string;
  /** The address. */
  readonly recipient: string;
  /** The domain of the address, in lower case. */
  readonly domain: string;
  /** What its mail shares connections and limits with. */
  readonly destination: string;
  /** `sent`: the next hop has it; `deferred`: it is tried again; `bounced`: it is given up. */
  readonly status: "sent" | "deferred" | "bounced";
  /** What the next hop said, or what stands for it when nobody was reached. */
  readonly reply: Reply;
  /** The command that was answered. */
  readonly command?: string;
  /** `mx.example[192.0.2.1]:25` or `none`. */
  readonly relay: string;
  /** Messages that the connection carried, this one included. */
  readonly connectionUse: number;
  /** The number of this attempt, from 1. */
  readonly attempt: number;
  /** Since reception. */
  readonly delayMs: number;
  /** Before the queue manager, in it, connection set-up, transmission (Postfix's a/b/c/d). */
  readonly delaysMs: readonly [number, number, number, number];
  /** When it is tried again; only with `deferred`. */
  readonly nextAt?: number;
  /** Protocol and cipher, when it was encrypted. */
  readonly tls?: string;
}

/** A message outlived its lifetime: `status=expired, returned to sender`. */
export interface ExpiredEvent {
  readonly kind: "expired";
  /** The message's id. */
  readonly id: string;
  /** Who is told, if anybody. */
  readonly sender: string;
}

/** A notification was stored for the sender (RFC 3464). */
export interface NotificationEvent {
  readonly kind: "notification";
  /** The message that it is about. */
  readonly id: string;
  /** The id of the notification itself. */
  readonly notificationId: string;
  /** What it reports (RFC 3464 §2.3.3). */
  readonly action: "failed" | "delayed" | "delivered" | "relayed";
}

/** A message has left the queue for good. */
export interface RemovedEvent {
  readonly kind: "removed";
  /** The id that it had. */
  readonly id: string;
}

/** An operator changed something. */
export interface OperatorEvent {
  readonly kind: "operator";
  /** The verb. */
  readonly action: "retry" | "hold" | "release" | "remove" | "bounce" | "flush";
  /** A message id, or what was selected. */
  readonly subject: string;
  /** Messages that it changed. */
  readonly count: number;
}

/** A damaged record was moved aside (P6). */
export interface CorruptEvent {
  readonly kind: "corrupt";
  /** The id of the message, or the file that could not be read. */
  readonly subject: string;
  /** Where it is now. */
  readonly movedTo: string;
  /** What was wrong with it. */
  readonly reason: string;
}

/** Storage went bad or recovered (P7). */
export interface StorageEvent {
  readonly kind: "storage";
  /** Told once when it begins and once when it is over. */
  readonly state: "failing" | "recovered";
  /** What could not be done. */
  readonly operation: string;
  /** Why not; empty when it is over. */
  readonly reason: string;
}

/** A destination was throttled after failures, or works again (P9). */
export interface DestinationEvent {
  readonly kind: "destination";
  /** What mail shares its connections and limits with. */
  readonly destination: string;
  /** `suspended`: only probed for a while; `resumed`: it takes mail again. */
  readonly state: "suspended" | "resumed";
  /** The last failure; empty when it is over. */
  readonly reason: string;
}

/** Something about the process as a whole, in words for people. */
export interface LifecycleEvent {
  readonly kind: "lifecycle";
  /** Where in its life it is; warnings and errors come at any time. */
  readonly what: "starting" | "ready" | "reloaded" | "draining" | "stopped" | "warning" | "error";
  /** One line. */
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
