/** The most that one reply of a peer, all its lines together, may hold. */
export const REPLY_BYTES_MAX = 64 * 1024;

const TOO_LONG = { garbled: "the reply is too long" } as const;

const REPLY_LINE = /^[2-5][0-9]{2}(?:[ -]|$)/u;

/**
 * Cuts what a peer sends into replies (RFC 5321 §4.2), however it was split into packets, and never holds more than
 * `REPLY_BYTES_MAX` and one packet. Text is one character per octet.
 */
export class ReplyReader {
  /** Not yet cut into lines. */
  #rest = "";
  /** The lines of a reply that is not whole yet. */
  #open = "";
  // Without a line end in it the rest only grows, and is not searched again for each packet.
  #hasLine = false;

  /** Takes what arrived. */
  push(text: string): void {
    this.#rest += text;
    this.#hasLine ||= text.includes("\n");
  }

  /** Nothing is left of what came, not even a part of a reply. */
  get isEmpty(): boolean {
    return this.#rest === "" && this.#open === "";
  }

  /** Forgets everything received (RFC 3207 §6). */
  clear(): void {
    this.#rest = "";
    this.#open = "";
    this.#hasLine = false;
  }

  /**
   * The next whole reply, its lines joined by LF; `undefined` when there is none yet; or what is wrong with the stream,
   * after which it is of no more use.
   */
  next(): string | undefined | { readonly garbled: string } {
    for (let line = this.#takeLine(); line !== undefined; line = this.#takeLine()) {
      if (!REPLY_LINE.test(line)) return { garbled: line.slice(0, 200) };
      const text = this.#open === "" ? line : `${this.#open}\n${line}`;
      if (text.length > REPLY_BYTES_MAX) return TOO_LONG;
      this.#open = line[3] === "-" ? text : "";
      if (this.#open === "") return text;
    }
    return this.#rest.length + this.#open.length > REPLY_BYTES_MAX ? TOO_LONG : undefined;
  }

  #takeLine(): string | undefined {
    if (!this.#hasLine) return undefined;
    const end = this.#rest.indexOf("\n");
    if (end < 0) {
      this.#hasLine = false;
      return undefined;
    }
    const hasReturn = this.#rest.charCodeAt(end - 1) === 0x0d;
    const line = this.#rest.slice(0, hasReturn ? end - 1 : end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }
}

/**
 * The code of a whole reply: that of its last line, which is the one that ends it.
 */
export function replyCode(text: string): number {
  const line = text.lastIndexOf("\n") + 1;
  return Number(text.slice(line, line + 3));
}

/** Reply text has no declared charset; nearly all of it is ASCII, and what is not is UTF-8 or kept octet by octet. */
export function replyText(octets: string): string {
  if (!/[\u0080-\u00ff]/u.test(octets)) return octets;
  try {
    const bytes = Uint8Array.from(octets, (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return octets;
  }
}
