import { unreachable } from "../lib/assert.ts";
import { formatReply } from "../mail/reply.ts";
import type { AcceptedEvent, ClientEvent, DeliveryEvent, Event, RefusedEvent } from "./events.ts";
import { lifecycleLevel, notificationName, operatorPhrase, type Service } from "./log-fact.ts";
import {
  cleanAddress,
  cleanCommand,
  cleanReason,
  cleanRelay,
  cleanText,
  cleanWord,
} from "./sanitise.ts";
import { stamper } from "./stamp.ts";

export interface JsonOptions {
  readonly name: string;
  readonly host: string;
  readonly pid: number;
}

type Fact = Readonly<Record<string, unknown>>;
type Say = (service: Service, level: "info" | "warning" | "error", fact: Fact) => string;

/**
 * Makes the function that writes an event as JSON lines: the same facts under the same keys as the text lines, delays in
 * seconds as numbers, and what text has no room for.
 */
export function jsonLines(options: JsonOptions): (event: Event, nowMs: number) => string {
  const stamp = stamper("rfc3339");
  const { name, host, pid } = options;
  let time = "";
  const say: Say = (service, level, fact) =>
    `${JSON.stringify({ time, level, host, service: `${name}/${service}`, pid, ...fact })}\n`;
  return (event, nowMs) => {
    time = stamp(nowMs).trimEnd();
    return lines(event, say);
  };
}

function lines(event: Event, say: Say): string {
  switch (event.kind) {
    case "accepted":
      return accepted(event, say);
    case "delivery":
      return say("smtp", "info", deliveryFact(event));
    case "removed":
      return say("qmgr", "info", { id: event.id, event: "removed" });
    case "client":
      return say("smtpd", "info", clientFact(event));
    case "refused":
      return say("smtpd", "info", refusedFact(event));
    case "expired":
      return say("qmgr", "info", {
        id: event.id,
        event: "expired",
        from: cleanAddress(event.sender),
        status: "expired",
      });
    case "notification":
      return say("bounce", "info", {
        id: event.id,
        event: "notification",
        text: notificationName(event.action),
        action: event.action,
        notification: event.notificationId,
      });
    default:
      return condition(event, say);
  }
}

type Condition = Extract<
  Event,
  { kind: "operator" | "corrupt" | "storage" | "destination" | "lifecycle" }
>;

function condition(event: Condition, say: Say): string {
  switch (event.kind) {
    case "operator":
      return say("admin", "info", {
        event: "operator",
        action: event.action,
        subject: cleanText(event.subject),
        count: event.count,
        text: operatorPhrase(event.action),
      });
    case "corrupt":
      return say("qmgr", "warning", {
        event: "corrupt",
        subject: cleanText(event.subject),
        moved_to: cleanText(event.movedTo),
        reason: cleanReason(event.reason),
      });
    case "storage":
      return say("qmgr", event.state === "failing" ? "warning" : "info", {
        event: "storage",
        state: event.state,
        operation: cleanText(event.operation),
        reason: cleanReason(event.reason),
      });
    case "destination":
      return say("qmgr", "info", {
        event: "destination",
        state: event.state,
        destination: cleanText(event.destination),
        reason: cleanReason(event.reason),
      });
    case "lifecycle":
      return say("master", lifecycleLevel(event.what), {
        event: event.what,
        text: cleanReason(event.text),
      });
    default:
      return unreachable(event);
  }
}

/** As in text: the client, the message-id and the envelope are three facts of three services. */
function accepted(event: AcceptedEvent, say: Say): string {
  const { id, client, sender, size } = event;
  const received = {
    id,
    event: "client",
    client: `${cleanWord(client.host)}[${cleanWord(client.ip)}]`,
    proto: client.protocol,
    helo: cleanText(client.name),
    sasl_username: client.auth === undefined ? undefined : cleanText(client.auth),
    tls: client.tls,
    orig_queue_id: event.firstId,
  };
  const queued = { id, event: "queued", from: cleanAddress(sender), size };
  return (
    (client.protocol === "LOCAL" ? "" : say("smtpd", "info", received)) +
    say("cleanup", "info", { id, event: "message-id", "message-id": cleanText(event.messageId) }) +
    say("qmgr", "info", { ...queued, nrcpt: event.recipientCount, took: event.durationMs / 1000 })
  );
}

function deliveryFact(event: DeliveryEvent): Fact {
  return {
    id: event.id,
    event: "delivery",
    to: cleanAddress(event.recipient),
    relay: cleanRelay(event.relay),
    destination: cleanText(event.destination),
    conn_use: event.connectionUse > 1 ? event.connectionUse : undefined,
    delay: event.delayMs / 1000,
    delays: event.delaysMs.map((ms) => ms / 1000),
    dsn: event.reply.enhanced,
    status: event.status,
    reply: cleanText(formatReply(event.reply)),
    command: event.command === undefined ? undefined : cleanText(event.command),
    attempt: event.attempt,
    next_at: event.nextAt === undefined ? undefined : instant(event.nextAt),
    tls: event.tls,
  };
}

function instant(ms: number): string | null {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

function clientFact(event: ClientEvent): Fact {
  return {
    event: event.what,
    client: `unknown[${cleanWord(event.ip)}]`,
    listener: cleanText(event.listener),
    detail: event.detail === undefined ? undefined : cleanReason(event.detail),
  };
}

function refusedFact({ client, command, reply, sender, recipient }: RefusedEvent): Fact {
  return {
    event: "reject",
    command: cleanCommand(command),
    client: `${cleanWord(client.host)}[${cleanWord(client.ip)}]`,
    dsn: reply.enhanced,
    reply: cleanReason(formatReply(reply)),
    from: sender === undefined ? undefined : cleanAddress(sender),
    to: recipient === undefined ? undefined : cleanAddress(recipient),
    proto: client.protocol,
    helo: cleanText(client.name),
  };
}
