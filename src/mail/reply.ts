import { CONTROL } from "../lib/controls.ts";

/** An SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463) kept apart from the text. */
export interface Reply {
  /** Three digits, 200-599. */
  readonly code: number;
  /** `class.subject.detail` such as `4.4.1`; its class always agrees with the code. */
  readonly enhanced: string;
  /** One line, printable, without the codes. */
  readonly text: string;
}

/** How much of a peer's reply is kept: it is untrusted and goes into logs, notices and pages. */
export const REPLY_TEXT_MAX = 1000;

const ENHANCED = /^([245])\.(\d{1,3})\.(\d{1,3})(?=\s|$)\s*/u;

/** Makes a reply of our own. */
export function reply(code: number, enhanced: string, text: string): Reply {
  return { code, enhanced, text };
}

/**
 * Reads the text of a peer's reply (all lines, codes included or not) into a reply. An enhanced code whose class
 * disagrees with the reply code is not believed; a missing one becomes `x.0.0`.
 */
export function parseReply(code: number, text: string): Reply {
  const lines = text.split(/\r?\n/u).map((line) => line.replace(/^\d{3}[ -]?/u, ""));
  const enhanced = ENHANCED.exec(lines[0] ?? "");
  const class_ = Math.floor(code / 100);
  const believed =
    enhanced && Number(enhanced[1]) === class_ ? enhanced[0].trim() : `${class_}.0.0`;
  const joined = lines.map((line) => line.replace(ENHANCED, "")).join(" ");
  return { code, enhanced: believed, text: printable(joined, REPLY_TEXT_MAX) };
}

/** `550 5.1.1 No such user`, as a client would read it on one line. */
export function formatReply({ code, enhanced, text }: Reply): string {
  return `${code} ${enhanced} ${text}`.trimEnd();
}

const CONTROLS = new RegExp(`${CONTROL.source}+`, "gu");

/** Text of unknown origin made safe for one line: what no line can show becomes a space, the length is bounded. */
export function printable(text: string, lengthMax: number): string {
  const clean = text.replace(CONTROLS, " ").trim();
  return clean.length <= lengthMax ? clean : `${clean.slice(0, lengthMax - 3)}...`;
}
