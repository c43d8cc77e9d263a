import { type Body, bodyHead, type Content, HEAD_BYTES_MAX, withPrefix } from "./content.ts";
import { printable } from "./reply.ts";

/** What the path of every message asks of a header, found in one pass. */
export interface HeaderScan {
  readonly hasDate: boolean;
  /** The value of `Message-ID`, brackets included; empty when the field is. */
  readonly messageId: string | undefined;
  /** How many `Received` fields: one for each hop so far. */
  readonly receivedCount: number;
  /** RFC 3834 §5. */
  readonly autoSubmitted: string | undefined;
  readonly contentType: string | undefined;
  /** Octets of the fields, without the blank line below them; 0 when there is no header. */
  readonly headerEnd: number;
}

/** How much of a field's value is kept as text: the longest line of RFC 5322 §2.1.1. */
export const FIELD_VALUE_MAX = 998;

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COLON = 0x3a;
const TILDE = 0x7e;
const LOWER_CASE = 0x20;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const BLANK_LINE = encoder.encode("\r\n");

/** The fields of a message that has none: a first line that is not a field means that all of it is body. */
const NO_FIELDS: HeaderScan = {
  hasDate: false,
  messageId: undefined,
  receivedCount: 0,
  autoSubmitted: undefined,
  contentType: undefined,
  headerEnd: 0,
};

/** Bodies are immutable and shared by all parts of a split, so each is scanned once. */
const scans = new WeakMap<Body, HeaderScan>();

/** What the header of a content says, its prefix included. Scans each body once, however often it is asked. */
export function headerOf(content: Content): HeaderScan {
  const { prefix } = content;
  if (prefix.length === 0) return scanBody(content.body);
  const top = scanHeader(prefix);
  // A prefix that ends its header itself stands on top of a body that has none.
  return top.headerEnd < prefix.length ? top : joinScans(top, scanBody(content.body));
}

function scanBody(body: Body): HeaderScan {
  let scan = scans.get(body);
  if (!scan) {
    scan = scanHeader(bodyHead(body));
    scans.set(body, scan);
  }
  return scan;
}

function joinScans(top: HeaderScan, below: HeaderScan): HeaderScan {
  return {
    hasDate: top.hasDate || below.hasDate,
    messageId: top.messageId ?? below.messageId,
    receivedCount: top.receivedCount + below.receivedCount,
    autoSubmitted: top.autoSubmitted ?? below.autoSubmitted,
    contentType: top.contentType ?? below.contentType,
    headerEnd: top.headerEnd + below.headerEnd,
  };
}

/** Scans a header once, at most `HEAD_BYTES_MAX` of it. Where a field stands twice the first one counts. */
export function scanHeader(head: Uint8Array): HeaderScan {
  const scan = { ...NO_FIELDS };
  scan.headerEnd = eachField(head, (at, nameEnd, end) => {
    noteField(scan, head, at, nameEnd, end);
    return true;
  });
  return scan;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** The length of the name rules out nearly every field before a byte is compared. */
function noteField(
  scan: Mutable<HeaderScan>,
  head: Uint8Array,
  at: number,
  nameEnd: number,
  end: number,
): void {
  const is = (name: string) => nameIs(head, at, name);
  switch (nameEnd - at) {
    case 4:
      if (is("date")) scan.hasDate = true;
      break;
    case 8:
      if (is("received")) scan.receivedCount += 1;
      break;
    case 10:
      if (is("message-id")) scan.messageId ??= valueText(head, nameEnd, end);
      break;
    case 12:
      if (is("content-type")) scan.contentType ??= valueText(head, nameEnd, end);
      break;
    case 14:
      if (is("auto-submitted")) scan.autoSubmitted ??= valueText(head, nameEnd, end);
      break;
  }
}

/** Octets of the fields at the top, without the blank line below them; 0 when there is no header. */
export function headerEnd(head: Uint8Array): number {
  return eachField(head, () => true);
}

/** Whether a field stands in the header. `name` in lower case. */
export function hasField(head: Uint8Array, name: string): boolean {
  return countField(head, name, 1) === 1;
}

/** How often a field stands in the header; stops counting at `atMost`. `name` in lower case. */
export function countField(head: Uint8Array, name: string, atMost: number): number {
  let count = 0;
  if (atMost <= 0) return count;
  eachField(head, (at, nameEnd) => {
    if (nameEnd - at === name.length && nameIs(head, at, name)) count += 1;
    return count < atMost;
  });
  return count;
}

/**
 * The value of the first such field: unfolded, control characters replaced, at most `FIELD_VALUE_MAX` characters;
 * `undefined` without one. `name` in lower case.
 */
export function fieldValue(head: Uint8Array, name: string): string | undefined {
  let value: string | undefined;
  eachField(head, (at, nameEnd, end) => {
    if (nameEnd - at !== name.length || !nameIs(head, at, name)) return true;
    value = valueText(head, nameEnd, end);
    return false;
  });
  return value;
}

/**
 * Puts one field on top, `Name: value` with or without folds, without the CRLF at its end. A body that has no header
 * gets the blank line that it lacks, else its first line would be read as a field or as the rest of this one.
 */
export function withField(content: Content, field: string): Content {
  const lacksBlankLine = content.prefix.length === 0 && startsWithText(bodyHead(content.body));
  const below = lacksBlankLine ? withPrefix(content, BLANK_LINE) : content;
  return withPrefix(below, encoder.encode(`${field}\r\n`));
}

function startsWithText(head: Uint8Array): boolean {
  return head.length > 0 && head[0] !== CR && fieldsStart(head) === 0 && fieldNameEnd(head, 0) < 0;
}

/** Gets where a field starts, where its name ends and where the next one starts; false stops. */
type Visit = (at: number, nameEnd: number, end: number) => boolean;

/** Calls `visit` for each field, folds included, until the blank line or whatever else is not a field. */
function eachField(all: Uint8Array, visit: Visit): number {
  const head = all.length <= HEAD_BYTES_MAX ? all : all.subarray(0, HEAD_BYTES_MAX);
  let at = fieldsStart(head);
  while (at < head.length) {
    const nameEnd = fieldNameEnd(head, at);
    if (nameEnd < 0) break;
    const end = fieldEnd(head, nameEnd);
    const goOn = visit(at, nameEnd, end);
    at = end;
    if (!goOn) break;
  }
  return at;
}

/** An mbox separator ahead of the fields is no field and does not end the header either. */
function fieldsStart(head: Uint8Array): number {
  const isSeparator = nameIs(head, 0, "from ") && fieldNameEnd(head, 0) < 0;
  return isSeparator ? head.indexOf(LF) + 1 : 0;
}

/** Where the name of the field at `at` ends; -1 when no field starts here. Blanks before the colon are obsolete but fine. */
function fieldNameEnd(head: Uint8Array, at: number): number {
  let end = at;
  while (isNameByte(head[end])) end += 1;
  if (end === at) return -1;
  let colon = end;
  while (isBlank(head[colon])) colon += 1;
  return head[colon] === COLON ? end : -1;
}

function isNameByte(byte: number | undefined): boolean {
  return byte !== undefined && byte > SPACE && byte <= TILDE && byte !== COLON;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB;
}

/** Where the line after a field and its folds starts. */
function fieldEnd(head: Uint8Array, from: number): number {
  let at = from;
  do {
    at = head.indexOf(LF, at) + 1;
    if (at === 0) return head.length;
  } while (isBlank(head[at]));
  return at;
}

/** Compares a name of lower-case letters, hyphens and blanks, whatever the letter case of the header. */
function nameIs(head: Uint8Array, at: number, name: string): boolean {
  for (let index = 0; index < name.length; index += 1) {
    if (((head[at + index] ?? 0) | LOWER_CASE) !== name.charCodeAt(index)) return false;
  }
  return true;
}

function valueText(head: Uint8Array, nameEnd: number, end: number): string {
  const start = head.indexOf(COLON, nameEnd) + 1;
  // A value is cut before it is decoded: one field may be the whole 64 KiB.
  const text = decoder.decode(head.subarray(start, Math.min(end, start + 2 * FIELD_VALUE_MAX)));
  return printable(text.replaceAll("\r\n", ""), FIELD_VALUE_MAX);
}
