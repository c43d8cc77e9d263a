import { isIPv4, isIPv6 } from "node:net";
import { isAscii } from "./address.ts";
import type { DsnRequest, Notify } from "./envelope.ts";
import { type Reply, reply } from "./reply.ts";
import { decodeOrcpt, decodeXtext } from "./xtext.ts";

/** RFC 5321 §4.5.3.1 asks for 64 and 255 at least; real forwarders write longer local parts. */
export const LOCAL_PART_OCTETS_MAX = 255;
export const DOMAIN_OCTETS_MAX = 255;
/** RFC 3461 §4.4. */
export const ENVID_CHARACTERS_MAX = 100;
/** RFC 3461 §4.2. */
export const ORCPT_CHARACTERS_MAX = 500;

/** What `MAIL` says (RFC 5321 §4.1.1.2, RFC 1870, RFC 6152, RFC 6531, RFC 3461). */
export interface MailCommand {
  readonly kind: "mail";
  /** As given, without source route; empty for the null reverse-path. */
  readonly sender: string;
  /** Declared octets. */
  readonly size?: number;
  readonly eightBit: boolean;
  readonly smtpUtf8: boolean;
  readonly dsn: DsnRequest;
}

/** What `RCPT` says (RFC 5321 §4.1.1.3, RFC 3461). */
export interface RcptCommand {
  readonly kind: "rcpt";
  /** As given, without source route; `postmaster` may stand alone. */
  readonly address: string;
  readonly notify?: readonly Notify[];
  /** Decoded: `rfc822;someone@example.org`. */
  readonly orcpt?: string;
}

/** The command cannot be taken; `reply` is the answer. */
export interface RefusedCommand {
  readonly kind: "refused";
  readonly reply: Reply;
}

type Writable<Command> = { -readonly [Key in keyof Command]: Command[Key] };
/** Reads one parameter into a command; false when the value is wrong. */
type ParameterReader<Command> = (into: Writable<Command>, value: string | undefined) => boolean;

const ATOMS = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\\u0080-\\u{10ffff}-]+";
const QUOTED = '"(?:[ !#-\\[\\]-~\\u0080-\\u{10ffff}]|\\\\[ -~])*"';
const LABEL = "[A-Za-z0-9_\\u0080-\\u{10ffff}-]+";
const LITERAL = "\\[[A-Za-z0-9:.-]+\\]";
const ADDRESS = `(${ATOMS}|${QUOTED})@(${LABEL}(?:\\.${LABEL})*|${LITERAL})`;
// Source routes are accepted and ignored (RFC 5321 appendix C).
const ROUTE = "(?:@[A-Za-z0-9_.-]+(?:,@[A-Za-z0-9_.-]+)*:)?";
const PARAMETERS = "(?: +(\\S.*?))? *$";

const PATH = new RegExp(`^ *<${ROUTE}${ADDRESS}>${PARAMETERS}`, "u");
// Devices leave the brackets out; there is only one way to read that.
const NAKED_PATH = new RegExp(`^ *${ADDRESS}${PARAMETERS}`, "u");
const NULL_PATH = new RegExp(`^ *<>${PARAMETERS}`, "u");
const POSTMASTER = new RegExp(`^ *<(postmaster)>${PARAMETERS}`, "iu");
/** Invisible characters that would make two different addresses look the same, and C1 controls. */
const DECEPTIVE = /[\u0080-\u009f\u200b\u2028\u2029\u2060\ufeff]/u;
/** RFC 5321 §4.1.3: the only tag there is. */
const IPV6_TAG = /^IPv6:/iu;
/** RFC 5321 §4.1.2, `esmtp-keyword ["=" esmtp-value]`. */
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-~\u00a0-\u{10ffff}]+))?$/u;
/** Controls, also those that an escape may have hidden. */
const CONTROL = /\p{Cc}/u;

const BAD_SYNTAX = refused(501, "5.5.4", "Syntax error in parameters or arguments");
const BAD_SENDER = refused(501, "5.1.7", "Bad sender address syntax");
const BAD_RECIPIENT = refused(501, "5.1.3", "Bad recipient address syntax");
const UNKNOWN_PARAMETER = refused(555, "5.5.4", "Parameter not recognized or not implemented");
const NEEDS_SMTPUTF8 = refused(553, "5.6.7", "Non-ASCII address without SMTPUTF8");
const NO_DSN: DsnRequest = {};

const MAIL_PARAMETERS = new Map<string, ParameterReader<MailCommand>>([
  ["SIZE", readSize],
  ["BODY", readBody],
  ["SMTPUTF8", readSmtpUtf8],
  ["RET", readRet],
  ["ENVID", readEnvid],
]);
const RCPT_PARAMETERS = new Map<string, ParameterReader<RcptCommand>>([
  ["NOTIFY", readNotify],
  ["ORCPT", readOrcpt],
]);

/** Reads what follows `MAIL FROM:`. Total: every text gives a command or the reply that refuses it. */
export function parseMail(text: string): MailCommand | RefusedCommand {
  const path = parsePath(text) ?? parseSpecial(NULL_PATH, text);
  if (path === undefined) return BAD_SENDER;
  const command = {
    kind: "mail" as const,
    sender: path.address,
    eightBit: false,
    smtpUtf8: false,
    dsn: NO_DSN,
  };
  const problem = readParameters(path.parameters, MAIL_PARAMETERS, command);
  if (problem !== undefined) return problem;
  if (!command.smtpUtf8 && !isAscii(text)) return NEEDS_SMTPUTF8;
  return command;
}

/** Reads what follows `RCPT TO:`. Total, like `parseMail`. */
export function parseRcpt(text: string, smtpUtf8: boolean): RcptCommand | RefusedCommand {
  const path = parsePath(text) ?? parseSpecial(POSTMASTER, text);
  if (path === undefined) return BAD_RECIPIENT;
  if (!smtpUtf8 && !isAscii(text)) return NEEDS_SMTPUTF8;
  const command = { kind: "rcpt" as const, address: path.address };
  return readParameters(path.parameters, RCPT_PARAMETERS, command) ?? command;
}

interface Path {
  readonly address: string;
  readonly parameters: string | undefined;
}

function parsePath(text: string): Path | undefined {
  const match = PATH.exec(text) ?? NAKED_PATH.exec(text);
  if (match === null) return;
  const [, local = "", domain = "", parameters] = match;
  if (octets(local) > LOCAL_PART_OCTETS_MAX || octets(domain) > DOMAIN_OCTETS_MAX) return;
  if (domain.startsWith("[") && !isLiteral(domain.slice(1, -1))) return;
  const address = `${local}@${domain}`;
  return DECEPTIVE.test(address) ? undefined : { address, parameters };
}

/** Whether the inside of an address literal is an address (RFC 5321 §4.1.3). */
function isLiteral(text: string): boolean {
  return IPV6_TAG.test(text) ? isIPv6(text.replace(IPV6_TAG, "")) : isIPv4(text);
}

function parseSpecial(pattern: RegExp, text: string): Path | undefined {
  const match = pattern.exec(text);
  if (match === null) return;
  // The null path has no address group.
  return pattern === NULL_PATH
    ? { address: "", parameters: match[1] }
    : { address: match[1] ?? "", parameters: match[2] };
}

function octets(text: string): number {
  return isAscii(text) ? text.length : new TextEncoder().encode(text).length;
}

function readParameters<Command>(
  text: string | undefined,
  readers: ReadonlyMap<string, ParameterReader<Command>>,
  into: Writable<Command>,
): RefusedCommand | undefined {
  if (text === undefined) return;
  const seen = new Set<string>();
  for (const word of text.split(/ +/u)) {
    const [, keyword, value] = PARAMETER.exec(word) ?? [];
    if (keyword === undefined) return BAD_SYNTAX;
    const name = keyword.toUpperCase();
    const read = readers.get(name);
    if (read === undefined) return UNKNOWN_PARAMETER;
    if (seen.has(name) || !read(into, value)) return BAD_SYNTAX;
    seen.add(name);
  }
  return;
}

function readSize(into: Writable<MailCommand>, value = ""): boolean {
  // RFC 1870 §3: up to twenty digits, more than a number holds exactly; any size that large is refused alike.
  if (!/^\d{1,20}$/u.test(value)) return false;
  into.size = Number(value);
  return true;
}

function readBody(into: Writable<MailCommand>, value = ""): boolean {
  const body = value.toUpperCase();
  into.eightBit = body === "8BITMIME";
  return into.eightBit || body === "7BIT";
}

function readSmtpUtf8(into: Writable<MailCommand>, value?: string): boolean {
  into.smtpUtf8 = true;
  return value === undefined;
}

function readRet(into: Writable<MailCommand>, value = ""): boolean {
  const ret = value.toUpperCase();
  if (ret !== "FULL" && ret !== "HDRS") return false;
  into.dsn = { ...into.dsn, ret };
  return true;
}

function readEnvid(into: Writable<MailCommand>, value = ""): boolean {
  const envid = value.length > ENVID_CHARACTERS_MAX ? undefined : decodeXtext(value);
  if (envid === undefined || envid === "" || CONTROL.test(envid)) return false;
  into.dsn = { ...into.dsn, envid };
  return true;
}

function readNotify(into: Writable<RcptCommand>, value = ""): boolean {
  const notify = value.toUpperCase().split(",");
  if (!notify.every(isNotify) || new Set(notify).size !== notify.length) return false;
  into.notify = notify;
  return notify.length === 1 || !notify.includes("NEVER");
}

function isNotify(word: string): word is Notify {
  return word === "NEVER" || word === "SUCCESS" || word === "FAILURE" || word === "DELAY";
}

function readOrcpt(into: Writable<RcptCommand>, value = ""): boolean {
  const orcpt = value.length > ORCPT_CHARACTERS_MAX ? undefined : decodeOrcpt(value);
  if (orcpt === undefined || CONTROL.test(orcpt) || DECEPTIVE.test(orcpt)) return false;
  into.orcpt = orcpt;
  return true;
}

function refused(code: number, enhanced: string, text: string): RefusedCommand {
  return { kind: "refused", reply: reply(code, enhanced, text) };
}
