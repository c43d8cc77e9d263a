import { CONTROL } from "../lib/controls.ts";
import { REPLY_TEXT_MAX } from "../mail/reply.ts";

/** An address of RFC 5321 §4.5.3.1 is at most 256 octets long; a longer one was refused or is somebody's joke. */
const ADDRESS_LENGTH_MAX = 320;
const WORD_LENGTH_MAX = 255;
/** A name, an address in brackets and a port. */
const RELAY_LENGTH_MAX = 320;

const UNPRINTABLE_OR_BRACKET = new RegExp(`${CONTROL.source}|[<>]`, "u");
const NOT_IN_A_WORD = new RegExp(`${CONTROL.source}|[\\s<>()[\\],;="]`, "u");

const NOT_IN_A_RELAY = new RegExp(`${CONTROL.source}|[\\s<>(),;="]`, "u");

const EVERY_UNPRINTABLE = new RegExp(CONTROL, "gu");
const EVERY_BRACKET = new RegExp(UNPRINTABLE_OR_BRACKET.source, "gu");
const EVERY_NOT_IN_A_WORD = new RegExp(NOT_IN_A_WORD.source, "gu");
const EVERY_NOT_IN_A_RELAY = new RegExp(NOT_IN_A_RELAY.source, "gu");

const CREDENTIALS = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/giu;

/** An address of unknown origin for between `<` and `>`: it can end neither the brackets nor the line. */
export function cleanAddress(address: string): string {
  const short =
    address.length <= ADDRESS_LENGTH_MAX ? address : `${address.slice(0, ADDRESS_LENGTH_MAX)}...`;
  return UNPRINTABLE_OR_BRACKET.test(short) ? short.replace(EVERY_BRACKET, "?") : short;
}

/** A name of unknown origin: one word in which nothing looks like the syntax of a log line. */
export function cleanWord(word: string): string {
  const short = word.length <= WORD_LENGTH_MAX ? word : `${word.slice(0, WORD_LENGTH_MAX)}...`;
  return NOT_IN_A_WORD.test(short) ? short.replace(EVERY_NOT_IN_A_WORD, "?") : short;
}

/** `host[address]:port`, of which DNS says the host: one word, its brackets kept. */
export function cleanRelay(relay: string): string {
  const short = relay.length <= RELAY_LENGTH_MAX ? relay : `${relay.slice(0, RELAY_LENGTH_MAX)}...`;
  return NOT_IN_A_RELAY.test(short) ? short.replace(EVERY_NOT_IN_A_RELAY, "?") : short;
}

/** Text of unknown origin for the end of a line. */
export function cleanText(text: string): string {
  const short = text.length <= REPLY_TEXT_MAX ? text : `${text.slice(0, REPLY_TEXT_MAX)}...`;
  return CONTROL.test(short) ? short.replace(EVERY_UNPRINTABLE, "?") : short;
}

/** Text of our own about the system: like `cleanText`, and without the user and password of a URL (P11). */
export function cleanReason(text: string): string {
  return cleanText(text).replace(CREDENTIALS, "$1***@");
}

/** The name of an SMTP command without its argument, which may be a secret (AUTH) or anything. */
export function cleanCommand(command: string): string {
  const [verb = "", second = ""] = command.split(" ", 2);
  const known = second === "TO" || second === "FROM" ? `${verb} ${second}` : verb;
  return /^[A-Z]{1,10}( TO| FROM)?$/u.test(known) ? known : "UNKNOWN";
}
