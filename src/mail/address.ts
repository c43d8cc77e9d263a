import { domainToASCII } from "node:url";

/** The part behind the last `@`, in lower case; empty when there is none. An address literal keeps its brackets. */
export function domainOf(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 0 ? "" : address.slice(at + 1).toLowerCase();
}

/** Whether a string is ASCII only, so that it needs no SMTPUTF8 (RFC 6531). */
export function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) {
    if (text.charCodeAt(index) > 0x7f) return false;
  }
  return true;
}

/** A domain in A-labels (RFC 5890), lower case; `undefined` when it has no such form. */
export function asciiDomain(domain: string): string | undefined {
  if (isAscii(domain)) return domain.toLowerCase();
  const ascii = domainToASCII(domain);
  return ascii === "" ? undefined : ascii;
}

/** An address with its domain in A-labels; the local part stays as given and may still need SMTPUTF8. */
export function asciiAddress(address: string): string {
  const at = address.lastIndexOf("@");
  if (at < 0) return address;
  const domain = asciiDomain(address.slice(at + 1));
  // ASCII domains keep the letter case that was given.
  if (domain === undefined || isAscii(address.slice(at + 1))) return address;
  return `${address.slice(0, at + 1)}${domain}`;
}
