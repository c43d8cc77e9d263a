import { PickleError } from "./values.ts";

const SIMPLE: Readonly<Record<string, number>> = {
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  "\\": 0x5c,
  "'": 0x27,
  '"': 0x22,
};

/** A byte string as protocol 0 of Python 2 writes it: in quotes, with escapes. */
export function escapedBytes(line: string): Uint8Array {
  const quote = line.charAt(0);
  const isQuoted = line.length >= 2 && line.endsWith(quote) && (quote === "'" || quote === '"');
  if (!isQuoted) throw new PickleError("a byte string has no quotes");
  const bytes: number[] = [];
  const body = line.slice(1, -1);
  for (let at = 0; at < body.length; at += 1) {
    if (body.charAt(at) !== "\\") {
      bytes.push(body.charCodeAt(at));
      continue;
    }
    at += 1;
    const letter = body.charAt(at);
    if (letter !== "x") bytes.push(simpleEscape(letter));
    else {
      bytes.push(hex(body.slice(at + 1, at + 3), 2));
      at += 2;
    }
  }
  return Uint8Array.from(bytes);
}

/** A text as protocol 0 writes it: Latin-1, with `\uXXXX` and `\UXXXXXXXX` for what is not in it. */
export function escapedText(line: Uint8Array): string {
  let text = "";
  for (const byte of line) text += String.fromCharCode(byte);
  return text.replace(/\\u(.{0,4})|\\U(.{0,8})/gsu, (_, short?: string, long?: string) => {
    const code = short === undefined ? hex(long ?? "", 8) : hex(short, 4);
    if (code > 0x10_ffff) throw new PickleError("a character does not exist");
    return String.fromCodePoint(code);
  });
}

function simpleEscape(letter: string): number {
  const byte = SIMPLE[letter];
  if (byte === undefined) throw new PickleError("a byte string has an escape that is not known");
  return byte;
}

function hex(digits: string, length: number): number {
  if (digits.length !== length || !/^[\da-f]+$/iu.test(digits)) {
    throw new PickleError("an escape has no digits");
  }
  return Number.parseInt(digits, 16);
}
