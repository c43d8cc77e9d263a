import { base32, derivedId } from "../lib/id.ts";
import type { Freight } from "./landing.ts";
import type { LeftReason } from "./report.ts";

/** Mail that another program has in its queue. */
export interface ImportSource {
  /** What it is called; the same in every run. */
  readonly name: string;
  /** Everything in it. Rejects when it cannot be read at all. */
  items(): AsyncIterable<ImportItem>;
}

export interface ImportItem {
  /** What the source calls it. */
  readonly name: string;
  /** Octets that reading it takes in memory; absent where large content is streamed. */
  readonly size?: () => Promise<number>;
  /** `undefined`: every recipient has it, or it is gone. Throws `NotImported` when only this message is wrong. */
  read(): Promise<Imported | undefined>;
  /** Forgets it in the source. Idempotent. */
  remove(): Promise<void>;
}

export interface Imported {
  readonly freight: Freight;
  /** What is not known of it any more, and what was made of that. */
  readonly note?: string;
}

/** This message cannot be taken; the others can. */
export class NotImported extends Error {
  override readonly name = "NotImported";
  readonly reason: LeftReason;

  constructor(
    message: string,
    options: { readonly reason?: LeftReason; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.reason = options.reason ?? "damaged";
  }
}

const TIME_CHARACTERS = 9;
/** No mail is from later than this; milliseconds since the epoch. */
export const INSTANT_MAX: number = 2 ** 44;

/**
 * The id of a message that another program has: it follows from when it was received and what it was called there, so that
 * importing it again is a no-op while it is here.
 */
export function importedId(receivedAt: number, parts: readonly string[]): string {
  const ms = Math.min(Math.max(0, Math.round(receivedAt)), INSTANT_MAX);
  return derivedId(base32(ms, TIME_CHARACTERS), parts);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSAFE = /[\u0000-\u001f\u007f]/u;
const ADDRESS_LENGTH_MAX = 1000;

/** An address that can stand in a line of SMTP; throws `NotImported` for any other. */
export function safeAddress(address: string): string {
  if (address.length <= ADDRESS_LENGTH_MAX && !UNSAFE.test(address)) return address;
  throw new NotImported("an address is one that no line can have");
}
