/** The domain of every recipient unless somebody chooses another; the local part is the message's number. */
export const LEDGER_DOMAIN = "ledger.example.net";
/** The domain of every sender; the local part is the first number of the message. */
export const SENDER_DOMAIN = "client.example.org";

/** What a next hop that rejects a number says, and what the bounce about it must repeat. */
export const REJECTION = "550 5.1.1 No such user";

/** What a message says about itself, so that whoever takes it over can tell whether it is what was sent. */
export interface LedgerMessage {
  /** Its recipients have this number and those that follow it. */
  readonly first: number;
  readonly recipients: number;
  /** The body is what was sent, octet by octet. */
  readonly intact: boolean;
}

/** The content of a numbered message: CRLF line ends, not dot-stuffed. */
export function ledgerMessage(first: number, recipients: number, body: string): string {
  const print = checksum(body);
  return `Subject: ${first}\r\nLedger: ${first} ${recipients} ${print}\r\n\r\n${body}`;
}

/** Reads a numbered message as it arrived, with whatever header fields were added; `undefined` when it is none. */
export function readLedgerMessage(text: string): LedgerMessage | undefined {
  const found = /^Ledger: (\d+) (\d+) ([\da-f]+)\r$/mu.exec(text);
  if (found === null) return undefined;
  const [, first, recipients, print] = found;
  const body = text.slice(text.indexOf("\r\n\r\n") + 4);
  return {
    first: Number(first),
    recipients: Number(recipients),
    intact: checksum(body) === print,
  };
}

/** A bounce: whose rejections it reports, and whether it says all that a sender must learn. */
export interface LedgerBounce {
  readonly numbers: readonly number[];
  /** It repeats the next hop's words and returns the message it is about. */
  readonly intact: boolean;
}

/** Reads a bounce (RFC 3464) of a numbered message. */
export function readLedgerBounce(text: string): LedgerBounce {
  const numbers = [...text.matchAll(/^Final-Recipient: *rfc822; *(\d+)@/gimu)].map(([, number]) => {
    return Number(number);
  });
  const about = /^Ledger: (\d+) (\d+) /mu.exec(text);
  const [first, recipients] = [Number(about?.[1]), Number(about?.[2])];
  const isAbout = (number: number) => number >= first && number < first + recipients;
  const said = text.replace(/\r\n[ \t]+/gu, " ").includes(REJECTION);
  return { numbers, intact: numbers.length > 0 && said && numbers.every(isAbout) };
}

function checksum(body: string): string {
  return Bun.hash.crc32(body).toString(16);
}
