import { unreachable } from "../lib/assert.ts";
import { printable, type Reply, reply } from "../mail/reply.ts";
import type {
  Answer,
  LookupFailure,
  PeerFailure,
  Phase,
  Place,
  SessionFailure,
} from "./peer-failure.ts";

/** What an answer means for the recipient it concerns. */
export interface Classified {
  readonly kind: "delivered" | "deferred" | "rejected";
  readonly reply: Reply;
  /** Another host of the same destination may be asked in this attempt: nothing was decided and nothing can duplicate. */
  readonly nextHost: boolean;
  /** The command that was answered. */
  readonly command?: string;
}

/** Names of commands in reports, as Postfix writes them. */
const COMMANDS: Partial<Record<Phase, string>> = {
  ehlo: "EHLO",
  starttls: "STARTTLS",
  auth: "AUTH",
  mail: "MAIL FROM",
  rcpt: "RCPT TO",
  data: "DATA",
  content: "end of DATA",
  "end-of-data": "end of DATA",
};

const DOING: Record<Phase, string> = {
  connect: "connecting",
  greeting: "receiving the initial server greeting",
  ehlo: "performing the EHLO handshake",
  starttls: "performing the TLS handshake",
  auth: "performing authentication",
  mail: "sending MAIL FROM",
  rcpt: "sending RCPT TO",
  data: "sending DATA command",
  content: "sending message body",
  "end-of-data": "sending end of data; may be duplicated",
};

const CONNECT_ERRORS: Record<string, string> = {
  ECONNREFUSED: "Connection refused",
  ECONNRESET: "Connection reset by peer",
  EHOSTUNREACH: "No route to host",
  ENETUNREACH: "Network is unreachable",
  ETIMEDOUT: "Connection timed out",
};

/** Until MAIL is answered nothing was decided about a message, so that another host may be asked. */
const BEFORE_RECIPIENTS: ReadonlySet<Phase> = new Set([
  "connect",
  "greeting",
  "ehlo",
  "starttls",
  "auth",
  "mail",
]);

/** A 552 to RCPT that is about the number of recipients, not about a full mailbox. */
const TOO_MANY = /too many|recipients? (?:limit|count|per)|recipients exceeded/iu;

/**
 * Says what a peer's answer, or the lack of one, means for a recipient. This is the only place where failures become
 * outcomes. `place` names the peer in texts; text of the peer is already bounded and printable.
 */
export function classify(answer: Answer, place?: Place): Classified {
  if (answer.kind === "taken")
    return { kind: "delivered", reply: answer.reply, nextHost: false, command: "end of DATA" };
  if (answer.kind === "reply") return ofReply(answer.phase, answer.reply);
  const command = "phase" in answer ? COMMANDS[answer.phase] : undefined;
  const meaning = ofFailure(answer, place);
  return command === undefined ? meaning : { ...meaning, command };
}

function ofReply(phase: Phase, said: Reply): Classified {
  const named = COMMANDS[phase];
  const command = named === undefined ? {} : { command: named };
  const nextHost = BEFORE_RECIPIENTS.has(phase);
  if (said.code < 500) return { kind: "deferred", reply: said, nextHost, ...command };
  // Whoever refuses to talk at all says nothing about the recipient (Postfix: smtp_skip_5xx_greeting).
  if (nextHost && phase !== "mail")
    return { kind: "deferred", reply: softened(said), nextHost, ...command };
  if (phase === "rcpt" && isTooMany(said)) {
    const later = reply(452, "4.5.3", said.text);
    return { kind: "deferred", reply: later, nextHost: false, ...command };
  }
  return { kind: "rejected", reply: said, nextHost: false, ...command };
}

/** RFC 5321 §4.5.3.1.10: 552 was once the code for too many recipients and is then to be taken as 452. */
function isTooMany({ code, enhanced, text }: Reply): boolean {
  return code === 552 && (enhanced === "5.5.3" || TOO_MANY.test(text));
}

/** A permanent reply whose subject is the session, told as the temporary trouble that it is for a message. */
function softened({ code, enhanced, text }: Reply): Reply {
  const said = `${code} ${enhanced} ${text}`.trimEnd();
  return reply(451, `4${enhanced.slice(1)}`, printable(`refused to talk: ${said}`, 1000));
}

function ofFailure(failure: Exclude<PeerFailure, { kind: "reply" }>, place?: Place): Classified {
  switch (failure.kind) {
    case "oversize":
      return rejected(
        552,
        "5.3.4",
        `message size exceeds the limit of ${failure.sizeMax} of host ${named(place)}`,
      );
    case "no-utf8":
      return rejected(
        550,
        "5.6.7",
        `SMTPUTF8 is required, but was not offered by host ${named(place)}`,
      );
    case "bad-address":
      return failure.whose === "sender"
        ? rejected(553, "5.1.7", "bad sender address syntax")
        : rejected(553, "5.1.3", "bad recipient address syntax");
    case "unreadable":
      return deferred(451, "4.3.0", "message could not be read from the queue", false);
    case "dns-failed":
    case "no-name":
    case "no-host":
    case "null-mx":
    case "loop":
    case "no-domain":
    case "no-smarthost":
      return ofLookup(failure);
    default:
      return ofSession(failure, place);
  }
}

function ofLookup(failure: LookupFailure): Classified {
  const name = printable(failure.name, 255);
  switch (failure.kind) {
    case "dns-failed":
      return deferred(451, "4.4.3", `DNS lookup of ${name} failed: ${failure.detail}`);
    case "no-name":
      return rejected(550, "5.1.2", `no usable DNS records found: ${name} does not exist`);
    case "no-host":
      return rejected(550, "5.1.2", `no usable DNS records found: ${name} has no address`);
    case "null-mx":
      return rejected(556, "5.1.10", `domain ${name} does not accept mail (null MX)`);
    case "loop":
      return rejected(554, "5.4.6", `mail for ${name} loops back to myself`);
    case "no-domain":
      return rejected(550, "5.1.5", `recipient address has no domain: ${name}`);
    case "no-smarthost":
      return deferred(451, "4.4.3", `no address found for next hop ${name}`);
    default:
      return unreachable(failure);
  }
}

function ofSession(failure: SessionFailure, place?: Place): Classified {
  const peer = named(place);
  switch (failure.kind) {
    case "connect":
      return deferred(
        451,
        "4.4.1",
        `connect to ${peer}${portOf(place)}: ${CONNECT_ERRORS[failure.code] ?? failure.code}`,
      );
    case "timeout":
      return ofTimeout(failure.phase, place);
    case "lost":
      return deferred(451, "4.4.2", lostText(failure.phase, peer), isEarly(failure.phase));
    case "garbled":
      return deferred(
        451,
        "4.5.0",
        printable(`host ${peer} does not speak SMTP: ${failure.detail}`, 300),
        isEarly(failure.phase),
      );
    case "tls":
      return ofTls(failure.reason, failure.detail, peer);
    case "auth":
      return failure.reason === "not-offered"
        ? deferred(451, "4.7.0", `no usable authentication method was offered by host ${peer}`)
        : deferred(
            451,
            "4.7.0",
            `credentials are not sent in clear text and host ${peer} is not encrypted`,
          );
    case "aborted":
      return deferred(
        451,
        "4.4.2",
        `delivery attempt was ended while ${DOING[failure.phase]}`,
        false,
      );
    default:
      return unreachable(failure);
  }
}

function ofTimeout(phase: Phase, place?: Place): Classified {
  if (phase === "connect")
    return deferred(
      451,
      "4.4.1",
      `connect to ${named(place)}${portOf(place)}: Connection timed out`,
    );
  const text = `conversation with ${named(place)} timed out while ${DOING[phase]}`;
  return deferred(451, "4.4.2", text, isEarly(phase));
}

function ofTls(
  reason: "not-offered" | "handshake" | "unverified",
  detail: string,
  peer: string,
): Classified {
  switch (reason) {
    case "not-offered":
      return deferred(451, "4.7.4", `TLS is required, but was not offered by host ${peer}`);
    case "unverified":
      return deferred(
        451,
        "4.7.5",
        printable(`server certificate of ${peer} not verified: ${detail}`, 300),
      );
    case "handshake":
      return deferred(451, "4.7.5", printable(`TLS handshake with ${peer} failed: ${detail}`, 300));
    default:
      return unreachable(reason);
  }
}

function lostText(phase: Phase, peer: string): string {
  return phase === "end-of-data"
    ? `lost connection with ${peer} after end of data; may be duplicated`
    : `lost connection with ${peer} while ${DOING[phase]}`;
}

function isEarly(phase: Phase): boolean {
  return BEFORE_RECIPIENTS.has(phase);
}

function deferred(code: number, enhanced: string, text: string, nextHost = true): Classified {
  return { kind: "deferred", reply: reply(code, enhanced, text), nextHost };
}

function rejected(code: number, enhanced: string, text: string): Classified {
  return { kind: "rejected", reply: reply(code, enhanced, text), nextHost: false };
}

function named(place?: Place): string {
  return place ? `${place.host}[${place.ip}]` : "the next hop";
}

function portOf(place?: Place): string {
  return place ? `:${place.port}` : "";
}
