/** What a delivery may say of a peer, judged by what the peer heard and said: by order alone, as RFC 2920 has it. */
import { REPLY_TEXT_MAX } from "../../src/mail/reply.ts";
import type { Outcome } from "../../src/relay/relay.ts";
import { REPLY_BYTES_MAX } from "../../src/relay/smtp-replies.ts";
import type { Heard, Talk } from "./relay-peer.ts";

/** The replies in a text, up to the first thing that is none. */
export interface ReadReplies {
  readonly codes: readonly number[];
  /** Where each of them ends. */
  readonly ends: readonly number[];
  /** Nothing is left over and nothing was wrong. */
  readonly isClean: boolean;
}

/** One thing a client said, with the code it was answered with; undefined when there was no such reply. */
interface Exchange {
  readonly text: string;
  readonly kind: Heard["kind"];
  readonly code: number | undefined;
}

/** One message as a peer saw it. */
interface Attempt {
  readonly mail: Exchange;
  readonly rcpts: readonly Exchange[];
  readonly data: Exchange | undefined;
  readonly message: Exchange | undefined;
}

const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u202a-\u202e]/u;
const CLASS = { delivered: 2, deferred: 4, rejected: 5 } as const;

/** Reads replies from a text all at once. */
export function readReplies(said: string): ReadReplies {
  const codes: number[] = [];
  const ends: number[] = [];
  let open = 0;
  let at = 0;
  for (let end = said.indexOf("\n"); end >= 0; end = said.indexOf("\n", at)) {
    const line = said.slice(at, end).replace(/\r$/u, "");
    at = end + 1;
    if (!/^[2-5]\d\d(?:[ -]|$)/u.test(line)) return { codes, ends, isClean: false };
    open += line.length + 1;
    if (open - 1 > REPLY_BYTES_MAX) return { codes, ends, isClean: false };
    if (line[3] === "-") continue;
    codes.push(Number(line.slice(0, 3)));
    ends.push(at);
    open = 0;
  }
  return { codes, ends, isClean: open === 0 && at === said.length };
}

function attemptsIn(talk: Talk): readonly Attempt[] {
  const { heard, said } = talk;
  const { codes } = readReplies(said);
  const all = heard.map(({ kind, text }, index): Exchange => ({ kind, text, code: codes[index] }));
  const starts = all.flatMap(({ text }, index) => (/^MAIL /u.test(text) ? [index] : []));
  return starts.map((start, number) => {
    const own = all.slice(start, starts[number + 1]);
    const dataAt = own.findIndex(({ text }) => text === "DATA");
    return {
      mail: own[0] as Exchange,
      rcpts: own.filter(({ text }) => text.startsWith("RCPT ")),
      data: own[dataAt],
      message: dataAt < 0 ? undefined : messageBehind(talk, start + dataAt),
    };
  });
}

/**
 * What became of the message. What a peer says that hears no more cannot be told from a receipt, but when it is said in
 * one breath with the reply to DATA.
 */
function messageBehind({ heard, said, writes }: Talk, dataAt: number): Exchange | undefined {
  const { codes, ends } = readReplies(said);
  const isInOneBreath = !writes.includes(ends[dataAt] ?? 0);
  const code = isInOneBreath ? undefined : codes[dataAt + 1];
  const next = heard[dataAt + 1];
  if (next === undefined) return { kind: "message", text: "", code };
  return next.kind === "message" ? { ...next, code } : undefined;
}

/** A message that no other is like, as peers may see it. */
export interface Marked {
  readonly sender: string;
  /** By index of the recipient. */
  readonly addresses: ReadonlyMap<number, string>;
  /** Its content as it must go over the wire, with its end. */
  readonly stuffed: string;
}

/** Throws unless there is one outcome for each recipient and each can be justified by what peer and client said. */
export function expectJust(
  outcomes: readonly Outcome[],
  { sender, addresses, stuffed }: Marked,
  talks: readonly Talk[],
): void {
  const seen = outcomes.map(({ recipient }) => recipient).toSorted((one, other) => one - other);
  if (`${seen}` !== `${[...addresses.keys()]}`) throw new Error(`outcomes for ${seen}`);
  const attempts = talks
    .flatMap(attemptsIn)
    .filter(({ mail }) => mail.text.startsWith(`MAIL FROM:<${sender}>`));
  const heard = attempts.filter(({ message }) => message?.text === stuffed);
  if (heard.length > 1) throw new Error("the message was sent twice");
  const sent = [...heard, ...attempts.filter(({ message }) => message?.text === "")];
  for (const outcome of outcomes) {
    expectSane(outcome);
    const address = addresses.get(outcome.recipient) ?? "";
    if (outcome.kind === "delivered") expectDelivered(outcome, address, sent);
    if (outcome.kind === "rejected") expectRejected(outcome, address, attempts);
  }
}

function isAbout(text: string, address: string): boolean {
  return text.startsWith(`RCPT TO:<${address}>`);
}

function expectSane({ kind, reply: { code, enhanced, text } }: Outcome): void {
  const class_ = Math.floor(code / 100);
  if (class_ !== CLASS[kind]) throw new Error(`${kind} by ${code}`);
  if (!new RegExp(`^${class_}\\.\\d{1,3}\\.\\d{1,3}$`, "u").test(enhanced)) {
    throw new Error(`${code} with ${enhanced}`);
  }
  if (UNPRINTABLE.test(text)) throw new Error(`the reply is ${JSON.stringify(text)}`);
  if (text.length > REPLY_TEXT_MAX) throw new Error(`a reply of ${text.length} characters`);
}

const isPositive = (code: number | undefined) => code !== undefined && code >= 200 && code < 300;

function expectDelivered({ reply }: Outcome, address: string, sent: readonly Attempt[]): void {
  const isReal = sent.some(
    ({ mail, rcpts, data, message }) =>
      isPositive(mail.code) &&
      Math.floor((data?.code ?? 0) / 100) === 3 &&
      message?.code === reply.code &&
      isPositive(message.code) &&
      rcpts.some(({ text, code }) => isAbout(text, address) && isPositive(code)),
  );
  if (!isReal) throw new Error(`delivered to ${address}, which nobody took`);
}

function expectRejected({ reply }: Outcome, address: string, attempts: readonly Attempt[]): void {
  if (reply.text.startsWith("message size exceeds the limit")) return;
  const isReal = attempts.some(({ mail, rcpts, data, message }) => {
    const own = rcpts.filter(({ text }) => isAbout(text, address));
    return [mail, ...own, data, message].some((exchange) => exchange?.code === reply.code);
  });
  if (!isReal)
    throw new Error(`rejected ${address} with ${reply.code} ${reply.text}, which nobody said`);
}

/** Throws when a message went over a connection whose peer had said too much, too little or nonsense before. */
export function expectNoReuse({ heard, said }: Talk): void {
  const first = heard.findIndex(isMail);
  for (const [index, next] of heard.entries()) {
    if (index === first || !isMail(next)) continue;
    const { codes, isClean } = readReplies(said.slice(0, next.saidBefore));
    if (!isClean || codes.length !== index) throw new Error("used again after nonsense");
    const isStray = heard
      .slice(first, index)
      .some((one, at) => isOutOfStep(one, codes[first + at]));
    if (isStray) throw new Error("used again with a peer out of step");
  }
}

function isMail({ text }: Heard): boolean {
  return text.startsWith("MAIL ");
}

/** Going away, or no answer to what was said: 3xx is for DATA, which 2xx is not. */
function isOutOfStep({ text }: Heard, code = 0): boolean {
  return code === 421 || (code < 400 && code >= 300 !== (text === "DATA"));
}
