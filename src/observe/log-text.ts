import { unreachable } from "../lib/assert.ts";
import type { Client } from "../mail/envelope.ts";
import { formatReply } from "../mail/reply.ts";
import type {
  AcceptedEvent,
  ClientEvent,
  DeliveryEvent,
  Event,
  LifecycleEvent,
  OperatorEvent,
  RefusedEvent,
} from "./events.ts";
import {
  clientPhrase,
  commandPhrase,
  isSaidByPeer,
  lifecycleLevel,
  notificationName,
  operatorPhrase,
  type Service,
} from "./log-fact.ts";
import {
  cleanAddress,
  cleanCommand,
  cleanReason,
  cleanRelay,
  cleanText,
  cleanWord,
} from "./sanitise.ts";
import { seconds } from "./seconds.ts";
import { type StampStyle, stamper } from "./stamp.ts";

export interface TextOptions {
  readonly stamp: StampStyle;
  /** What stands before the `/` of the service: Postfix's `syslog_name`. */
  readonly name: string;
  /** The host name that follows a stamp. */
  readonly host: string;
  readonly pid: number;
}

type Head = (service: Service) => string;

/**
 * Makes the function that writes an event as lines, each ended by `\n`, with the keys and in the order of Postfix, so that
 * pflogsumm, fail2ban and an admin's greps work on them.
 */
export function textLines(options: TextOptions): (event: Event, nowMs: number) => string {
  const stamp = stamper(options.stamp);
  const host = options.stamp === "none" ? "" : `${options.host} `;
  const after = (service: Service) => `${host}${options.name}/${service}[${options.pid}]: `;
  const tails: Readonly<Record<Service, string>> = {
    smtpd: after("smtpd"),
    cleanup: after("cleanup"),
    qmgr: after("qmgr"),
    smtp: after("smtp"),
    bounce: after("bounce"),
    admin: after("admin"),
    master: after("master"),
  };
  let current = "";
  const head: Head = (service) => current + tails[service];
  return (event, nowMs) => {
    current = stamp(nowMs);
    return lines(event, head);
  };
}

function lines(event: Event, head: Head): string {
  switch (event.kind) {
    case "accepted":
      return accepted(event, head);
    case "delivery":
      return delivery(event, head);
    case "removed":
      return `${head("qmgr")}${event.id}: removed\n`;
    case "client":
      return client(event, head);
    case "refused":
      return refused(event, head);
    case "expired":
      return `${head("qmgr")}${event.id}: from=<${cleanAddress(event.sender)}>, status=expired, returned to sender\n`;
    case "notification":
      return `${head("bounce")}${event.id}: ${notificationName(event.action)}: ${event.notificationId}\n`;
    case "operator":
      return operator(event, head);
    default:
      return condition(event, head);
  }
}

/** The states of the system itself. */
function condition(event: Exclude<Event, { kind: LineOfMail }>, head: Head): string {
  switch (event.kind) {
    case "corrupt":
      return `${head("qmgr")}warning: ${cleanWord(event.subject)}: damaged, moved to ${cleanText(event.movedTo)}: ${cleanReason(event.reason)}\n`;
    case "storage":
      return event.state === "failing"
        ? `${head("qmgr")}warning: storage failing: ${cleanWord(event.operation)}: ${cleanReason(event.reason)}\n`
        : `${head("qmgr")}storage recovered: ${cleanWord(event.operation)}\n`;
    case "destination":
      return event.state === "suspended"
        ? `${head("qmgr")}destination ${cleanWord(event.destination)} suspended: ${cleanReason(event.reason)}\n`
        : `${head("qmgr")}destination ${cleanWord(event.destination)} resumed: ${cleanReason(event.reason)}\n`;
    case "lifecycle":
      return lifecycle(event, head);
    default:
      return unreachable(event);
  }
}

type LineOfMail =
  | "accepted"
  | "delivery"
  | "removed"
  | "client"
  | "refused"
  | "expired"
  | "notification"
  | "operator";

function accepted(event: AcceptedEvent, head: Head): string {
  const { id } = event;
  const messageId = cleanAddress(event.messageId.replace(/^<|>$/gu, ""));
  return `${received(event, head)}${head("cleanup")}${id}: message-id=<${messageId}>\n${head("qmgr")}${id}: from=<${cleanAddress(event.sender)}>, size=${event.size}, nrcpt=${event.recipientCount} (queue active)\n`;
}

/** Mail that is made here has no client: Postfix writes no such line for it either. */
function received({ id, client, firstId }: AcceptedEvent, head: Head): string {
  if (client.protocol === "LOCAL") return "";
  const login = client.auth === undefined ? "" : `, sasl_username=${cleanWord(client.auth)}`;
  const first = firstId === undefined ? "" : `, orig_queue_id=${firstId}`;
  return `${head("smtpd")}${id}: client=${peer(client)}${login}${first}\n`;
}

function peer({ host, ip }: Client): string {
  return `${cleanWord(host)}[${cleanWord(ip)}]`;
}

function delivery(event: DeliveryEvent, head: Head): string {
  const [before, queue, setup, transfer] = event.delaysMs;
  const reused = event.connectionUse > 1 ? `, conn_use=${event.connectionUse}` : "";
  return `${head("smtp")}${event.id}: to=<${cleanAddress(event.recipient)}>, relay=${cleanRelay(event.relay)}${reused}, delay=${seconds(event.delayMs)}, delays=${seconds(before)}/${seconds(queue)}/${seconds(setup)}/${seconds(transfer)}, dsn=${event.reply.enhanced}, status=${event.status} (${explanation(event)})\n`;
}

function explanation(event: DeliveryEvent): string {
  const { reply, relay, command = "" } = event;
  if (event.status === "sent") return cleanText(formatReply(reply));
  if (!isSaidByPeer(event)) return cleanText(reply.text === "" ? formatReply(reply) : reply.text);
  const host = relay.replace(/:\d+$/u, "");
  return `host ${cleanRelay(host)} said: ${cleanText(formatReply(reply))} (in reply to ${commandPhrase(cleanReplyTo(command))})`;
}

/** `end of DATA` is the one name of a command that is no command. */
function cleanReplyTo(command: string): string {
  return command === "end of DATA" || command === "DATA-END" ? command : cleanCommand(command);
}

function client(event: ClientEvent, head: Head): string {
  const phrase = clientPhrase(event);
  const why = event.what === "tls-failed" && event.detail ? `: ${cleanReason(event.detail)}` : "";
  return `${head("smtpd")}${phrase} from unknown[${cleanWord(event.ip)}]${why}\n`;
}

function refused(event: RefusedEvent, head: Head): string {
  const { client, command, reply } = event;
  // A reply repeats what the client said; it must not look like the keys behind it.
  const text = cleanReason(formatReply(reply)).replaceAll("=<", "?<");
  if (command.startsWith("AUTH")) {
    return `${head("smtpd")}warning: ${peer(client)}: SASL ${mechanism(command)} authentication failed: ${text}\n`;
  }
  const from = event.sender === undefined ? "" : ` from=<${cleanAddress(event.sender)}>`;
  const to = event.recipient === undefined ? "" : ` to=<${cleanAddress(event.recipient)}>`;
  const helo = client.name === "" ? "" : ` helo=<${cleanAddress(client.name)}>`;
  return `${head("smtpd")}NOQUEUE: reject: ${cleanCommand(command)} from ${peer(client)}: ${text};${from}${to} proto=${cleanWord(client.protocol)}${helo}\n`;
}

function mechanism(command: string): string {
  return /^AUTH ([A-Z0-9-]{1,20})(?: |$)/u.exec(command)?.[1] ?? "PLAIN";
}

function operator({ action, subject, count }: OperatorEvent, head: Head): string {
  const phrase = operatorPhrase(action);
  return `${head("admin")}${cleanText(subject)}: ${phrase}${count === 1 ? "" : ` (${count} messages)`}\n`;
}

function lifecycle({ what, text }: LifecycleEvent, head: Head): string {
  const level = lifecycleLevel(what);
  const label = level === "info" ? `daemon ${what}` : level;
  return `${head("master")}${label}: ${cleanReason(text)}\n`;
}
