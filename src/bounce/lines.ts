/** RFC 5322 §2.1.1, CRLF aside: lines should keep to this. */
const LINE_SHOULD_MAX = 78;
/** Words longer than this are broken: at most 4 octets a character, so that lines stay below the 998 of RFC 5322. */
const WORD_MAX = 240;
/** Well above the 500 that RFC 3461 §4.2 asks for, with room for a field name in the line. */
const ADDRESS_BYTES_MAX = 900;
/** RFC 1035 §2.3.4. */
const HOST_MAX = 255;
/** Of UTF-8 for one unit of a string. */
const CHARACTER_BYTES_MAX = 3;

/** Control characters, line separators and half surrogates: what could end a line or fail to become UTF-8. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]+/gu;

const encoder = new TextEncoder();

/** Text of unknown origin made safe to stand within a line. */
export function safe(text: string): string {
  return text.replace(UNSAFE, " ").trim();
}

/** An address of unknown origin, safe and in one piece; cut when a line could not hold it. */
export function safeAddress(address: string): string {
  const whole = safe(address);
  const fits = encoder.encode(whole).length <= ADDRESS_BYTES_MAX;
  return fits ? whole : whole.slice(0, ADDRESS_BYTES_MAX / CHARACTER_BYTES_MAX);
}

/** A host name of unknown origin; `?` in place of what cannot stand in one. */
export function safeHost(host: string): string {
  return host.replace(/[^0-9A-Za-z.:_[\]-]/gu, "?").slice(0, HOST_MAX) || "unknown";
}

/** `Name: value`, folded at blanks: taking the line ends away gives the value back. */
export function field(name: string, value: string): string {
  return wrap(`${name}:`, ` ${safe(value)}`, (word) => word);
}

/** The same for an address or another value that folding could harm. */
export function unfolded(name: string, value: string): string {
  return `${name}: ${safe(value)}`;
}

/** A paragraph for people, all of its lines behind `indent`. */
export function paragraph(text: string, indent = ""): string {
  return wrap("", ` ${safe(text)}`, (word) => indent + word.trimStart());
}

/** Fills lines with words, each with its blanks before it; `begin` makes the first word of a line. */
function wrap(start: string, text: string, begin: (word: string) => string): string {
  const [first = "", ...words] = text.match(/ *[^ ]+/gu)?.flatMap(breakWord) ?? [];
  const lines: string[] = [];
  let line = start + begin(first);
  for (const word of words) {
    if (encoder.encode(line + word).length <= LINE_SHOULD_MAX) line += word;
    else {
      lines.push(line);
      line = begin(word);
    }
  }
  return [...lines, line].join("\r\n");
}

function breakWord(word: string): string[] {
  const characters = Array.from(word);
  if (characters.length <= WORD_MAX) return [word];
  const pieces: string[] = [];
  for (let at = 0; at < characters.length; at += WORD_MAX) {
    const piece = characters.slice(at, at + WORD_MAX).join("");
    pieces.push(at === 0 ? piece : ` ${piece}`);
  }
  return pieces;
}
