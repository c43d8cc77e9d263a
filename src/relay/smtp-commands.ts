import { asciiAddress, isAscii } from "../mail/address.ts";
import type { Content } from "../mail/content.ts";
import { contentSize } from "../mail/content.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import { encodeOrcpt, encodeXtext } from "../mail/xtext.ts";
import type { PeerFailure } from "./peer-failure.ts";

/** What a peer announced in its reply to EHLO (RFC 5321 §4.1.1.1). */
export interface Announced {
  readonly pipelining: boolean;
  readonly startTls: boolean;
  readonly eightBitMime: boolean;
  readonly smtpUtf8: boolean;
  readonly dsn: boolean;
  readonly size: boolean;
  /** The largest message, in octets; 0 when there is no limit or none was told. */
  readonly sizeMax: number;
  /** SASL mechanisms, in upper case. */
  readonly auth: readonly string[];
}

/** A peer that knows HELO only. */
export const NOTHING_ANNOUNCED: Announced = {
  pipelining: false,
  startTls: false,
  eightBitMime: false,
  smtpUtf8: false,
  dsn: false,
  size: false,
  sizeMax: 0,
  auth: [],
};

/** What one transaction sends, or why some recipients cannot be part of it. */
export interface Commands {
  readonly mail: string;
  /** One command for each of `recipients`, in order. */
  readonly rcpts: readonly string[];
  readonly recipients: readonly Recipient[];
  readonly refused: readonly {
    readonly recipient: Recipient;
    readonly failure: PeerFailure;
  }[];
}

/** A path that stays one argument of a command: nothing that ends it or the line (RFC 5321 §4.1.2). */
const PATH = /^(?:"(?:[^"\\\p{Cc}]|\\[^\p{Cc}])*"|[^\s<>"\p{Cc}]+)(?:@[^\s<>"\p{Cc}@]+)?$/u;

/** Reads the lines of a positive reply to EHLO; the first one only greets. */
export function parseAnnounced(reply: string): Announced {
  const keywords = new Map<string, readonly string[]>();
  for (const line of reply.split("\n").slice(1)) {
    // `AUTH=PLAIN` is an old form of `AUTH PLAIN`.
    const [keyword = "", ...parameters] = line
      .slice(4)
      .trim()
      .split(/[\s=]+/u);
    const name = keyword.toUpperCase();
    keywords.set(name, [...(keywords.get(name) ?? []), ...parameters]);
  }
  const size = Number(keywords.get("SIZE")?.[0] ?? 0);
  return {
    pipelining: keywords.has("PIPELINING"),
    startTls: keywords.has("STARTTLS"),
    eightBitMime: keywords.has("8BITMIME"),
    smtpUtf8: keywords.has("SMTPUTF8"),
    dsn: keywords.has("DSN"),
    size: keywords.has("SIZE"),
    sizeMax: Number.isSafeInteger(size) && size > 0 ? size : 0,
    auth: (keywords.get("AUTH") ?? []).map((mechanism) => mechanism.toUpperCase()),
  };
}

/** Writes the commands that hand `recipients` of an envelope to a peer with these extensions. */
export function commandsFor(
  envelope: Envelope,
  recipients: readonly Recipient[],
  announced: Announced,
): Commands {
  const size = contentSize(envelope.content);
  const hindrance = hindranceOf(envelope, size, announced);
  if (hindrance) {
    const refused = recipients.map((recipient) => ({ recipient, failure: hindrance }));
    return { mail: "", rcpts: [], recipients: [], refused };
  }
  const utf8 = announced.smtpUtf8 && wantsUtf8(envelope, recipients);
  const able: Recipient[] = [];
  const rcpts: string[] = [];
  const refused: { recipient: Recipient; failure: PeerFailure }[] = [];
  for (const recipient of recipients) {
    const failure = recipientFailure(recipient, announced);
    if (failure) {
      refused.push({ recipient, failure });
      continue;
    }
    able.push(recipient);
    rcpts.push(rcptCommand(recipient, utf8, announced.dsn));
  }
  return { mail: mailCommand(envelope, size, utf8, announced), rcpts, recipients: able, refused };
}

/** What keeps the whole message from this peer. */
function hindranceOf(
  envelope: Envelope,
  size: number,
  announced: Announced,
): PeerFailure | undefined {
  if (envelope.sender !== "" && !PATH.test(envelope.sender))
    return { kind: "bad-address", whose: "sender" };
  if (announced.sizeMax > 0 && size > announced.sizeMax)
    return { kind: "oversize", sizeMax: announced.sizeMax };
  const isForeign =
    needsUtf8(envelope.sender) || (envelope.smtpUtf8 && !hasAsciiHeader(envelope.content));
  return isForeign && !announced.smtpUtf8 ? { kind: "no-utf8" } : undefined;
}

function recipientFailure({ address }: Recipient, announced: Announced): PeerFailure | undefined {
  if (!PATH.test(address)) return { kind: "bad-address", whose: "recipient" };
  return needsUtf8(address) && !announced.smtpUtf8 ? { kind: "no-utf8" } : undefined;
}

function mailCommand(
  envelope: Envelope,
  size: number,
  utf8: boolean,
  announced: Announced,
): string {
  let command = `MAIL FROM:<${wireAddress(envelope.sender, utf8)}>`;
  if (announced.size) command += ` SIZE=${size}`;
  // A peer without the extension gets the bytes as they are: to convert them would break every signature.
  if (envelope.eightBit && announced.eightBitMime) command += " BODY=8BITMIME";
  if (utf8) command += " SMTPUTF8";
  if (announced.dsn && envelope.dsn.ret) command += ` RET=${envelope.dsn.ret}`;
  if (announced.dsn && envelope.dsn.envid) command += ` ENVID=${encodeXtext(envelope.dsn.envid)}`;
  return `${command}\r\n`;
}

function rcptCommand({ address, notify, orcpt }: Recipient, utf8: boolean, dsn: boolean): string {
  let command = `RCPT TO:<${wireAddress(address, utf8)}>`;
  if (dsn && notify && notify.length > 0) command += ` NOTIFY=${notify.join(",")}`;
  if (dsn && orcpt) command += ` ORCPT=${encodeOrcpt(orcpt)}`;
  return `${command}\r\n`;
}

function wireAddress(address: string, utf8: boolean): string {
  return utf8 || isAscii(address) ? address : asciiAddress(address);
}

/** A local part that has no ASCII form; a domain has A-labels. */
function needsUtf8(address: string): boolean {
  return !(isAscii(address) || isAscii(asciiAddress(address)));
}

function wantsUtf8(envelope: Envelope, recipients: readonly Recipient[]): boolean {
  const isForeign =
    needsUtf8(envelope.sender) || recipients.some(({ address }) => needsUtf8(address));
  if (isForeign || !envelope.smtpUtf8) return isForeign;
  return (
    !isAscii(envelope.sender) ||
    recipients.some(({ address }) => !isAscii(address)) ||
    !hasAsciiHeader(envelope.content)
  );
}

/** Whether the header, as far as it is in memory, is ASCII. */
function hasAsciiHeader({ prefix, body }: Content): boolean {
  const head = body.kind === "bytes" ? body.bytes : body.head;
  return isAsciiUntilEmptyLine(prefix) && isAsciiUntilEmptyLine(head);
}

function isAsciiUntilEmptyLine(bytes: Uint8Array): boolean {
  let previous = 0;
  for (const byte of bytes) {
    if (byte > 0x7f) return false;
    if (byte === 0x0d) continue;
    if (byte === 0x0a && previous === 0x0a) return true;
    previous = byte;
  }
  return true;
}
