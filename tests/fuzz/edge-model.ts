/**
 * What the edge must do, written down a second time and differently: over a whole conversation at once, where the edge
 * works byte by byte. Text is one character per octet.
 */
import type { Accepted, Conversation, Manner } from "./edge-session.ts";
import { LIMITS } from "./edge-session.ts";

const ENHANCED = /^([245])\.\d{1,3}\.\d{1,3}(?: |$)/u;
const BARE_LINE_END = /\r(?!\n)|(?<!\r)\n/u;

const TOO_MANY_ERRORS = "421 4.7.0 Too many errors";

/** RFC 5321 §4.5.3.1.5, without CRLF. */
const REPLY_LINE_MAX = 510;

/** The data at the beginning of `text`: where it ends, and the content that it stands for. */
export function readData(
  text: string,
): { readonly length: number; readonly content: string } | undefined {
  const end = `\r\n${text}`.indexOf("\r\n.\r\n");
  if (end < 0) return undefined;
  // Each line of the data with its CRLF; the one in front of the data belongs to the command.
  const lines = text.slice(0, end).split("\r\n").slice(0, -1);
  const content = lines
    .map((line) => line.replace(/^\./u, "").replace(/[\r\n]/gu, "\r\n"))
    .map((line) => `${line}\r\n`);
  return { length: end + ".\r\n".length, content: content.join("") };
}

/** The code for a message whose data is `data`. */
export function codeForData(data: string, content: string, manner: Manner): number {
  if (content.length > LIMITS.message) return 552;
  if (manner.bareLineEnds === "refuse" && BARE_LINE_END.test(data)) return 550;
  return manner.nulBytes === "refuse" && data.includes("\0") ? 550 : 250;
}

/**
 * Walks over what a client sent along with what it was answered, and throws where they do not fit together: one reply
 * for each command and each message, in order; a message is accepted with exactly its content if and only if the reply
 * to its end says 250; sender and recipients come from commands that were answered with 250.
 */
export function expectFitting(input: Uint8Array, manner: Manner, heard: Conversation): void {
  const text = Buffer.from(input).toString("latin1");
  const replies = heard.replies.slice(1);
  const accepted = [...heard.accepted];
  let sender: string | undefined;
  let recipients: string[] = [];
  let at = 0;
  const takeReply = (of: string): string => {
    const reply = replies.shift();
    if (reply === undefined) throw new Error(`no reply to ${JSON.stringify(of)}`);
    return reply;
  };
  const codeOf = (reply: string) => Number(reply.slice(0, 3));

  for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", at)) {
    const line = text.slice(at, end);
    at = end + 1;
    const reply = takeReply(line);
    const code = codeOf(reply);
    expectCodes(reply, /^[EH][EH]LO\b/iu.test(line) && code === 250);
    const verb = line.slice(0, 4).toUpperCase();
    if (code === 250 && verb === "MAIL") [sender, recipients] = [line, []];
    if (code === 250 && verb === "RCPT") recipients.push(line);
    if (code === 250 && /^(?:RSET|[EH][EH]LO)/u.test(verb)) sender = undefined;
    if (code === 421 || code === 221) {
      at = text.length;
      break;
    }
    if (replies[0] === TOO_MANY_ERRORS && code >= 500) {
      replies.shift();
      at = text.length;
      break;
    }
    if (code !== 354) continue;
    const data = readData(text.slice(at));
    if (data === undefined) {
      at = text.length;
      break;
    }
    const dataReply = takeReply("the end of data");
    expectCodes(dataReply, false);
    const expected = codeForData(text.slice(at, at + data.length), data.content, manner);
    if (codeOf(dataReply) !== expected) throw new Error(`${dataReply} to data, not ${expected}`);
    if (expected === 250) {
      expectSame(accepted.shift(), sender, recipients, data.content);
    }
    sender = undefined;
    at += data.length;
  }
  if (replies.length > 0) throw new Error(`nobody asked for ${JSON.stringify(replies)}`);
  if (accepted.length > 0) throw new Error(`accepted without 250: ${JSON.stringify(accepted)}`);
}

function expectSame(
  message: Accepted | undefined,
  sender: string | undefined,
  recipients: readonly string[],
  content: string,
): void {
  if (message === undefined) throw new Error("250 for a message that was not accepted");
  if (message.content !== content) {
    throw new Error(`content ${JSON.stringify(message.content)}, not ${JSON.stringify(content)}`);
  }
  const says = (line: string | undefined, address: string) =>
    Buffer.from(line ?? "", "latin1")
      .toString("utf8")
      .includes(address);
  if (!says(sender, message.sender)) throw new Error(`sender ${message.sender} of ${sender}`);
  for (const recipient of message.recipients) {
    const address = recipient.replace(/@mx\.example\.org$/u, "");
    if (!recipients.some((line) => says(line, address)))
      throw new Error(`nobody said ${recipient}`);
  }
}

/** RFC 2034 §4: an enhanced code of the right class, but in front of EHLO's and HELO's lines and after 354. */
function expectCodes(reply: string, isHello: boolean): void {
  for (const line of reply.split("\n")) {
    if (line.length > REPLY_LINE_MAX) throw new Error(`a reply line of ${line.length} octets`);
    if (isHello || line.startsWith("354")) continue;
    if (ENHANCED.exec(line.slice(4))?.[1] !== line[0]) throw new Error(`codes of ${line}`);
  }
}
