import { unreachable } from "../lib/assert.ts";
import type {
  ClientEvent,
  DeliveryEvent,
  LifecycleEvent,
  NotificationEvent,
  OperatorEvent,
} from "./events.ts";
import { cleanWord } from "./sanitise.ts";

/** Which of Postfix's programs would have written a line: log readers go by it. */
export type Service = "smtpd" | "cleanup" | "qmgr" | "smtp" | "bounce" | "admin" | "master";

/** What the sender is told, in Postfix's words. */
export function notificationName(action: NotificationEvent["action"]): string {
  switch (action) {
    case "failed":
      return "sender non-delivery notification";
    case "delayed":
      return "sender delay notification";
    case "delivered":
    case "relayed":
      return "sender delivery status notification";
    default:
      return unreachable(action);
  }
}

/** What happened to a client, in Postfix's words, up to the client's name. */
export function clientPhrase({ what, detail }: ClientEvent): string {
  const stage = cleanWord(detail?.replace(/^after /u, "") ?? "UNKNOWN");
  switch (what) {
    case "connected":
      return "connect";
    case "disconnected":
      return "disconnect";
    case "lost":
      return `lost connection after ${stage}`;
    case "timeout":
      return `timeout after ${stage}`;
    case "tls-failed":
      return "SSL_accept error";
    default:
      return unreachable(what);
  }
}

/** What an operator did to one message, in the words of `postsuper`. */
export function operatorPhrase(action: OperatorEvent["action"]): string {
  switch (action) {
    case "retry":
      return "requeued";
    case "hold":
      return "placed on hold";
    case "release":
      return "released from hold";
    case "remove":
      return "removed by operator";
    case "bounce":
      return "returned to sender by operator";
    case "flush":
      return "flushed";
    default:
      return unreachable(action);
  }
}

/** Whether the next hop itself said the reply, which then deserves the words of Postfix for that. */
export function isSaidByPeer(event: DeliveryEvent): boolean {
  return event.command !== undefined && event.relay !== "none";
}

/** How Postfix names a command that was answered. */
export function commandPhrase(command: string): string {
  switch (command) {
    case "MAIL":
      return "MAIL FROM command";
    case "RCPT":
      return "RCPT TO command";
    case "DATA-END":
    case "end of DATA":
    case "END-OF-MESSAGE":
      return "end of DATA command";
    default:
      return `${command} command`;
  }
}

export function lifecycleLevel(what: LifecycleEvent["what"]): "info" | "warning" | "error" {
  return what === "warning" || what === "error" ? what : "info";
}
