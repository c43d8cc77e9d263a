/** RFC 3461 §4: `+` and two upper-case hexadecimal digits stand for an octet. */
const XTEXT = /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/u;
/** The same where RFC 6533 §3 lets UTF-8 stand for itself. */
const UNITEXT = /^(?:[!-*,-<>-~\u0080-\u{10ffff}]|\+[0-9A-F]{2})*$/u;
const EMBEDDED = /\\x\{([0-9A-F]{2,6})\}/gu;
const CODE_POINT_MAX = 0x10ffff;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Writes a value as xtext (RFC 3461 §4), for ENVID and ORCPT. Characters beyond ASCII become the octets of their UTF-8. */
export function encodeXtext(text: string): string {
  let encoded = "";
  for (const byte of encoder.encode(text)) {
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x2b && byte !== 0x3d;
    encoded += plain
      ? String.fromCharCode(byte)
      : `+${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/**
 * Reads xtext; `undefined` when it is not xtext, or not UTF-8 once it is decoded. With `unitext` characters beyond
 * ASCII may stand for themselves (RFC 6533 §3). The result may hold any character, controls included.
 */
export function decodeXtext(xtext: string, unitext = false): string | undefined {
  if (!(unitext ? UNITEXT : XTEXT).test(xtext)) return undefined;
  if (!xtext.includes("+")) return xtext;
  const bytes: number[] = [];
  for (const [piece] of xtext.matchAll(/\+..|[^+]+/gsu)) {
    if (piece.startsWith("+")) bytes.push(Number.parseInt(piece.slice(1), 16));
    else bytes.push(...encoder.encode(piece));
  }
  try {
    return decoder.decode(Uint8Array.from(bytes));
  } catch {
    return undefined;
  }
}

/**
 * Reads the value of an ORCPT parameter (RFC 3461 §4.2, RFC 6533 §3) as `type;address`, decoded; `undefined` when it
 * is not one.
 */
export function decodeOrcpt(value: string): string | undefined {
  const [type = "", ...rest] = value.split(";");
  if (!/^[A-Za-z0-9-]+$/u.test(type) || rest.length === 0) return undefined;
  const isUtf8 = type.toLowerCase() === "utf-8";
  const address = decodeXtext(rest.join(";"), isUtf8);
  if (address === undefined || address === "") return undefined;
  return `${type};${isUtf8 ? address.replace(EMBEDDED, unembed) : address}`;
}

function unembed(embedded: string, hex: string): string {
  const codePoint = Number.parseInt(hex, 16);
  return codePoint <= CODE_POINT_MAX ? String.fromCodePoint(codePoint) : embedded;
}

/**
 * Writes `type;address` as the value of an ORCPT parameter that is ASCII throughout: a `utf-8` address in the
 * embedded form of RFC 6533 §3, so that it also passes a next hop without SMTPUTF8.
 */
export function encodeOrcpt(orcpt: string): string {
  const semicolon = orcpt.indexOf(";");
  const type = orcpt.slice(0, Math.max(0, semicolon)) || "rfc822";
  const address = orcpt.slice(semicolon + 1);
  if (type.toLowerCase() !== "utf-8") return `${type};${encodeXtext(address)}`;
  return `${type};${Array.from(address, embed).join("")}`;
}

function embed(character: string): string {
  const plain = /^[!-~]$/u.test(character) && !["+", "=", "\\"].includes(character);
  if (plain) return character;
  const hex = (character.codePointAt(0) ?? 0).toString(16).toUpperCase();
  return `\\x{${hex.padStart(2, "0")}}`;
}
