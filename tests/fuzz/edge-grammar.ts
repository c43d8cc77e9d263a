/** Conversations out of the grammar of RFC 5321, together with the codes they must be answered with. */

import { codeForData, readData } from "./edge-model.ts";
import type { Accepted, Manner } from "./edge-session.ts";
import { LIMITS } from "./edge-session.ts";
import { below, pick } from "./support/mutate.ts";

/** What a client says, and what must come of it when all of it arrives. */
export interface Plan {
  readonly bytes: Uint8Array;
  /** The same command by command, the data of a message along with its DATA; one character per octet. */
  readonly utterances: readonly string[];
  /** The codes of all replies, the greeting's first. */
  readonly codes: readonly number[];
  readonly accepted: readonly Accepted[];
}

interface State {
  hello: boolean;
  sender: string | undefined;
  recipients: string[];
  errors: number;
  closed: boolean;
}

interface Drafting {
  readonly random: () => number;
  readonly manner: Manner;
  readonly state: State;
  readonly text: string[];
  readonly codes: number[];
  readonly accepted: Accepted[];
}

type Saying = (draft: Drafting) => void;

const ADDRESSES = [
  ...["a@example.com", "B.c+d@Example.NET", "x@[192.0.2.1]", "y@[IPv6:2001:db8::1]"],
  ...[
    '"q s"@example.org',
    '"a@b"@example.org',
    '"\\"<>"@example.org',
    "0@1.example",
    "_@a_b.example",
  ],
];
const NO_ADDRESSES = [
  ...["<>>", "<a@b@c>", "<a b@example.com>", "<@example.com>", "<a@>", "<a@example..com>", "a", ""],
  ...[
    '<"a@example.com>',
    "<a@[300.0.0.1]>",
    "<a@example.com",
    "<a(b)@example.com>",
    "<a@example.com>x",
  ],
];
const MAIL_PARAMETERS = [
  "",
  " SIZE=10",
  " BODY=8BITMIME RET=FULL",
  " ENVID=abc",
  " SMTPUTF8",
  " size=0",
];
const RCPT_PARAMETERS = ["", " NOTIFY=NEVER", " NOTIFY=DELAY,FAILURE", " ORCPT=rfc822;a@b.example"];
const WRONG_PARAMETERS: readonly (readonly [text: string, code: number])[] = [
  [" XYZZY", 555],
  [" FOO=bar", 555],
  [" =", 501],
];
const BODY_PIECES = [
  ...[
    "text",
    ".",
    "..",
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    "\0",
    "\r\n.",
    "\r\n..",
    "\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\xff",
  ],
  ...[
    "Subject: x\r\n\r\n",
    "MAIL FROM:<evil@example.org>\r\n",
    "QUIT\r\n",
    "x".repeat(100),
    ` ${"y".repeat(1000)}\r\n`,
  ],
];

/** Draws a conversation; the same dice draw the same one. */
export function draw(random: () => number, manner: Manner): Plan {
  const draft: Drafting = {
    random,
    manner,
    state: { hello: false, sender: undefined, recipients: [], errors: 0, closed: false },
    text: [],
    codes: [220],
    accepted: [],
  };
  // Most say hello first, or little would ever be accepted.
  if (random() < 0.9) hello(draft);
  for (let left = below(random, 25); left > 0 && !draft.state.closed; left -= 1) {
    pick(random, SAYINGS)(draft);
  }
  return {
    utterances: draft.text,
    bytes: new Uint8Array(Buffer.from(draft.text.join(""), "latin1")),
    codes: draft.codes,
    accepted: draft.accepted,
  };
}

function say(draft: Drafting, line: string, code: number): void {
  if (draft.state.closed) return;
  // LF alone ends a line too, unless it is refused.
  const isBare = draft.manner.bareLineEnds === "normalise" && draft.random() < 0.1;
  draft.text.push(`${line}${isBare ? "\n" : "\r\n"}`);
  draft.codes.push(code);
  const { state } = draft;
  const isError = draft.manner.trusted ? code === 500 : code >= 500 && code !== 503;
  if (!isError) return;
  state.errors += 1;
  if (state.errors < LIMITS.errors) return;
  draft.codes.push(421);
  state.closed = true;
}

/** A verb in any letter case. */
function verb(draft: Drafting, text: string): string {
  return draft.random() < 0.7 ? text : text.toLowerCase();
}

function hello(draft: Drafting): void {
  say(draft, `${verb(draft, pick(draft.random, ["EHLO", "HELO"]))} client.example`, 250);
  Object.assign(draft.state, { hello: true, sender: undefined, recipients: [] });
}

function mail(draft: Drafting): void {
  const { random, state } = draft;
  const address = random() < 0.2 ? "" : pick(random, ADDRESSES);
  const line = `${verb(draft, "MAIL FROM:")}<${address}>${pick(random, MAIL_PARAMETERS)}`;
  const isInOrder = state.hello && state.sender === undefined;
  say(draft, line, isInOrder ? 250 : 503);
  if (isInOrder) Object.assign(state, { sender: address, recipients: [] });
}

function wrongMail(draft: Drafting): void {
  const { random, state } = draft;
  const [parameter, code] = pick(random, WRONG_PARAMETERS);
  const [rest, answer] = pick(random, [
    [`<a@example.com>${parameter}`, code],
    [pick(random, NO_ADDRESSES), 501],
    ["<a@example.com> SIZE=99999999", 552],
  ] as const);
  say(draft, `MAIL FROM:${rest}`, state.hello && state.sender === undefined ? answer : 503);
}

function rcpt(draft: Drafting): void {
  const { random, state, manner } = draft;
  const address = pick(random, ADDRESSES);
  const line = `${verb(draft, "RCPT TO:")}<${address}>${pick(random, RCPT_PARAMETERS)}`;
  const isKnown = state.recipients.includes(address);
  const code = codeForRcpt(state, manner, isKnown);
  say(draft, line, code);
  if (code === 250 && !isKnown) state.recipients.push(address);
}

function codeForRcpt(state: State, manner: Manner, isKnown: boolean): number {
  if (state.sender === undefined) return 503;
  if (!manner.trusted) return 554;
  return isKnown || state.recipients.length < LIMITS.recipients ? 250 : 452;
}

function wrongRcpt(draft: Drafting): void {
  const { random, state } = draft;
  const [parameter, code] = pick(random, WRONG_PARAMETERS);
  const [rest, answer] = pick(random, [
    [`<b@example.com>${parameter}`, code],
    [pick(random, NO_ADDRESSES), 501],
  ] as const);
  say(draft, `RCPT TO:${rest}`, state.sender === undefined ? 503 : answer);
}

function data(draft: Drafting): void {
  const { random, state, manner } = draft;
  const { sender, recipients } = state;
  if (sender === undefined || recipients.length === 0) {
    say(draft, verb(draft, "DATA"), sender === undefined ? 503 : 554);
    return;
  }
  say(draft, verb(draft, "DATA"), 354);
  const wire = body(random);
  const { content } = readData(wire) ?? { content: "" };
  const code = codeForData(wire, content, manner);
  draft.text[draft.text.length - 1] += wire;
  draft.codes.push(code);
  if (code === 250) draft.accepted.push({ sender, recipients, content });
  Object.assign(state, { sender: undefined, recipients: [], errors: 0 });
}

/** Data with one end, at its end. */
function body(random: () => number): string {
  const pieces = Array.from({ length: below(random, 14) }, () => pick(random, BODY_PIECES));
  let text = pieces.join("");
  if (random() < 0.3) text = text.replace(/[\0\xff]/gu, "").replace(/\r(?!\n)|(?<!\r)\n/gu, "-");
  const wire = text === "" && random() < 0.5 ? ".\r\n" : `${text}\r\n.\r\n`;
  const early = readData(wire)?.length ?? 0;
  return early === wire.length ? wire : wire.slice(0, early);
}

/** The whole of a transaction, so that there are enough messages. */
function transaction(draft: Drafting): void {
  rset(draft);
  mail(draft);
  rcpt(draft);
  if (draft.random() < 0.3) rcpt(draft);
  data(draft);
}

function rset(draft: Drafting): void {
  say(draft, verb(draft, "RSET"), 250);
  Object.assign(draft.state, { sender: undefined, recipients: [] });
}

const simple =
  (line: string, code: number): Saying =>
  (draft) =>
    say(draft, line, code);

function goodbye(draft: Drafting): void {
  // Rarely: there is nothing behind it.
  if (draft.random() > 0.2) return;
  const [line, code] = pick(draft.random, [
    ["QUIT", 221],
    ["GET / HTTP/1.1", 421],
  ] as const);
  draft.text.push(`${line}\r\nNOOP\r\n`);
  draft.codes.push(code);
  draft.state.closed = true;
}

const SAYINGS: readonly Saying[] = [
  ...[hello, mail, mail, wrongMail, rcpt, rcpt, rcpt, wrongRcpt, data, data, rset, goodbye],
  ...[transaction, transaction, transaction, transaction],
  simple("NOOP", 250),
  simple("noop with words", 250),
  simple("VRFY someone", 252),
  simple("HELP", 214),
  simple("EXPN list", 502),
  simple("BDAT 10 LAST", 502),
  simple("AUTH PLAIN AGEAYg==", 502),
  simple("STARTTLS", 502),
  simple("EHLO", 501),
  simple("RSET now", 501),
  simple("QUIT now", 501),
  simple("XYZZY", 500),
  simple("", 500),
  simple(" NOOP", 500),
  simple("NOOP\0", 500),
  simple("NO\rOP", 500),
  simple("NOOP \x1b[2J", 500),
  simple("NOOP \xff\xfe", 500),
  simple(`NOOP ${"x".repeat(5000)}`, 500),
  simple("MAILFROM:<a@example.com>", 500),
];
