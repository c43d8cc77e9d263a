import { isAscii } from "../mail/address.ts";
import type { Client, Recipient } from "../mail/envelope.ts";
import { type MailCommand, parseMail, parseRcpt } from "../mail/path.ts";
import { printable, type Reply, reply } from "../mail/reply.ts";

/** What a dialog may do with what a client says. */
export interface DialogRules {
  /** For the replies, and for a `postmaster` without domain. */
  readonly hostname: string;
  readonly messageBytesMax: number;
  readonly recipientsMax: number;
  /** The client may send mail to other hosts. */
  readonly trusted: boolean;
  /** STARTTLS may be offered: there is a certificate, and TLS is not already on. */
  readonly offersTls: () => boolean;
  readonly refusal: () => string | undefined;
  readonly now: () => number;
}

/** The transaction that `MAIL` began. */
export interface Transaction {
  readonly mail: MailCommand;
  readonly startedAt: number;
  readonly recipients: Recipient[];
  /** The addresses of `recipients`, byte for byte, once there are so many that looking through them would be slow. */
  known: Set<string> | undefined;
}

/** What a session knows of its client between commands. */
export interface Dialog {
  readonly rules: DialogRules;
  readonly ip: string;
  /** What the client called itself; empty before HELO or EHLO. */
  name: string;
  /** EHLO rather than HELO. */
  extended: boolean;
  /** `TLSv1.3 TLS_AES_256_GCM_SHA384`, once the session is encrypted. */
  tls: string | undefined;
  transaction: Transaction | undefined;
}

/** What comes of a command: one reply, the lines of EHLO, or something that only the session can do. */
export type Step = Reply | readonly string[] | "data" | "quit" | "starttls" | "not-smtp";

type Handler = (dialog: Dialog, argument: string) => Step;

/** RFC 5321 §4.5.3.1.2, with brackets for a literal. */
const CLIENT_NAME_MAX = 257;
/** From this many recipients on, duplicates are looked up in a set. */
const RECIPIENTS_IN_SET = 8;

const OK = reply(250, "2.0.0", "Ok");
const SENDER_OK = reply(250, "2.1.0", "Ok");
const RECIPIENT_OK = reply(250, "2.1.5", "Ok");
const HELP = reply(214, "2.0.0", "See RFC 5321");
const MAYBE = reply(252, "2.1.5", "Cannot VRFY user, but will take mail for it and try");
const UNKNOWN = reply(500, "5.5.2", "Command not recognized");
const NOT_IMPLEMENTED = reply(502, "5.5.1", "Command not implemented");
const BAD_SYNTAX = reply(501, "5.5.4", "Syntax error in parameters or arguments");
const NO_HELO = reply(503, "5.5.1", "Send EHLO first");
const NESTED_MAIL = reply(503, "5.5.1", "Nested MAIL command");
const NO_MAIL = reply(503, "5.5.1", "Need MAIL command");
const NO_RECIPIENTS = reply(554, "5.5.1", "No valid recipients");
const TOO_LARGE = reply(552, "5.3.4", "Message size exceeds fixed limit");
const TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients");

const HANDLERS = new Map<string, Handler>([
  ["MAIL", mail],
  ["RCPT", rcpt],
  ["DATA", data],
  ["EHLO", (dialog, argument) => hello(dialog, argument, true)],
  ["HELO", (dialog, argument) => hello(dialog, argument, false)],
  ["RSET", rset],
  ["NOOP", () => OK],
  ["QUIT", (_, argument) => (argument === "" ? "quit" : BAD_SYNTAX)],
  ["STARTTLS", starttls],
  ["VRFY", (_, argument) => (argument === "" ? BAD_SYNTAX : MAYBE)],
  ["HELP", () => HELP],
  ...["EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML", "AUTH", "BDAT"].map(
    (verb): [string, Handler] => [verb, () => NOT_IMPLEMENTED],
  ),
]);

/** What a browser that was lured here sends first. */
const HTTP_REQUEST = /^(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE) \S+ HTTP\/\d/iu;

/** A dialog whose client has said nothing yet. */
export function newDialog(rules: DialogRules, ip: string, tls: string | undefined): Dialog {
  return { rules, ip, name: "", extended: false, tls, transaction: undefined };
}

/** The command that a line names, in capitals; not necessarily one that exists. */
export function verbOf(line: string): string {
  const space = line.indexOf(" ");
  return (space < 0 ? line : line.slice(0, space)).toUpperCase();
}

/** Carries out one command line, without its line end, whose `verbOf` is `verb`. Never throws. */
export function runCommand(dialog: Dialog, verb: string, line: string): Step {
  const handler = HANDLERS.get(verb);
  if (handler === undefined) return HTTP_REQUEST.test(line) ? "not-smtp" : UNKNOWN;
  return handler(dialog, line.slice(verb.length + 1).trim());
}

/** A reply of several lines without enhanced codes, as EHLO has it, ready for the wire. */
export function formatLines(code: number, lines: readonly string[]): string {
  const last = lines.length - 1;
  return lines.map((line, index) => `${code}${index === last ? " " : "-"}${line}\r\n`).join("");
}

/** The client as envelopes and events tell of it. */
export function clientOf(dialog: Dialog): Client {
  const { ip, name, tls } = dialog;
  const host = ip === "::1" || ip.startsWith("127.") ? "localhost" : "unknown";
  const client = { ip, host, name, protocol: protocolOf(dialog) };
  return tls === undefined ? client : { ...client, tls };
}

/** The keyword for `Received ... with` (RFC 3848, RFC 6531 §4.3). */
function protocolOf({ extended, tls, transaction }: Dialog): string {
  if (!extended) return "SMTP";
  const base = transaction?.mail.smtpUtf8 ? "UTF8SMTP" : "ESMTP";
  return tls === undefined ? base : `${base}S`;
}

function hello(dialog: Dialog, argument: string, extended: boolean): Step {
  if (argument === "" || argument.length > CLIENT_NAME_MAX || !isAscii(argument)) return BAD_SYNTAX;
  dialog.name = argument;
  dialog.extended = extended;
  // RFC 5321 §4.1.4: as if RSET had been given.
  dialog.transaction = undefined;
  const { hostname, messageBytesMax, offersTls } = dialog.rules;
  if (!extended) return [hostname];
  const lines = [hostname, "PIPELINING", `SIZE ${messageBytesMax}`];
  if (offersTls()) lines.push("STARTTLS");
  lines.push("ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8");
  return lines;
}

function mail(dialog: Dialog, argument: string): Step {
  if (dialog.name === "") return NO_HELO;
  if (dialog.transaction !== undefined) return NESTED_MAIL;
  const path = afterKeyword(argument, "FROM:");
  if (path === undefined) return BAD_SYNTAX;
  const command = parseMail(path);
  if (command.kind === "refused") return command.reply;
  const { messageBytesMax, refusal, now } = dialog.rules;
  if (command.size !== undefined && command.size > messageBytesMax) return TOO_LARGE;
  const reason = refusal();
  if (reason !== undefined) return reply(452, "4.3.1", printable(reason, 200));
  dialog.transaction = { mail: command, startedAt: now(), recipients: [], known: undefined };
  return SENDER_OK;
}

function rcpt(dialog: Dialog, argument: string): Step {
  const { rules, transaction } = dialog;
  if (transaction === undefined) return NO_MAIL;
  const path = afterKeyword(argument, "TO:");
  if (path === undefined) return BAD_SYNTAX;
  const command = parseRcpt(path, transaction.mail.smtpUtf8);
  if (command.kind === "refused") return command.reply;
  if (!rules.trusted) return relayDenied(command.address);
  // RFC 5321 §4.1.1.3: the postmaster of this very host.
  const isComplete = command.address.includes("@");
  const address = isComplete ? command.address : `${command.address}@${rules.hostname}`;
  if (isKnown(transaction, address)) return RECIPIENT_OK;
  const { recipients } = transaction;
  if (recipients.length >= rules.recipientsMax) return TOO_MANY_RECIPIENTS;
  recipients.push({
    index: recipients.length,
    address,
    ...(command.notify !== undefined && { notify: command.notify }),
    ...(command.orcpt !== undefined && { orcpt: command.orcpt }),
  });
  transaction.known?.add(address);
  return RECIPIENT_OK;
}

function isKnown(transaction: Transaction, address: string): boolean {
  const { recipients } = transaction;
  if (recipients.length < RECIPIENTS_IN_SET) {
    return recipients.some((recipient) => recipient.address === address);
  }
  transaction.known ??= new Set(recipients.map((recipient) => recipient.address));
  return transaction.known.has(address);
}

function relayDenied(address: string): Reply {
  // Replies are ASCII unless RFC 6531 §3.7.4.2 applies to every reader of them, logs included.
  const shown = address.replace(/[^ -~]/gu, "?");
  return reply(554, "5.7.1", printable(`<${shown}>: Relay access denied`, 400));
}

function data({ transaction }: Dialog, argument: string): Step {
  if (transaction === undefined) return NO_MAIL;
  if (argument !== "") return BAD_SYNTAX;
  return transaction.recipients.length === 0 ? NO_RECIPIENTS : "data";
}

function rset(dialog: Dialog, argument: string): Step {
  if (argument !== "") return BAD_SYNTAX;
  dialog.transaction = undefined;
  return OK;
}

function starttls(dialog: Dialog, argument: string): Step {
  if (!dialog.rules.offersTls()) return NOT_IMPLEMENTED;
  return argument === "" ? "starttls" : BAD_SYNTAX;
}

function afterKeyword(argument: string, keyword: string): string | undefined {
  const head = argument.slice(0, keyword.length);
  return head.toUpperCase() === keyword ? argument.slice(keyword.length) : undefined;
}
