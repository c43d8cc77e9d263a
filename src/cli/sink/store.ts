import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fieldValue, headerEnd } from "../../mail/header.ts";
import { printable } from "../../mail/reply.ts";
import type { Writer } from "../parts.ts";
import type { SinkEnvelope, SinkMessage } from "./session.ts";

export const PRINTS = ["line", "headers", "full", "count"] as const;
export type Print = (typeof PRINTS)[number];

/** What arrived so far. */
export interface Tally {
  messages: number;
  recipients: number;
  bytes: number;
}

export interface StoreOptions {
  readonly print: Print;
  /** Where each message becomes a file. */
  readonly directory: string | undefined;
  readonly out: Writer;
  readonly tally: Tally;
  /** Called after each message. */
  readonly received: () => void;
}

/** As much of a message as is printed. */
const HEADER_BYTES_MAX = 64 * 1024;
const FULL_BYTES_MAX = 1024 * 1024;
const SUBJECT_LENGTH_MAX = 200;
const RECIPIENTS_SHOWN_MAX = 20;

/** Makes what receives one message: counts it, prints it, writes it to its file. */
export function messageStore(options: StoreOptions): (envelope: SinkEnvelope) => SinkMessage {
  let files = 0;
  return (envelope) => {
    files += 1;
    const name = `${String(files).padStart(6, "0")}.eml`;
    const file = options.directory === undefined ? undefined : saver(options.directory, name);
    return receiver(envelope, file, options);
  };
}

function receiver(
  envelope: SinkEnvelope,
  file: Saver | undefined,
  { print, out, tally, received }: StoreOptions,
): SinkMessage {
  const keepMax = {
    line: HEADER_BYTES_MAX,
    headers: HEADER_BYTES_MAX,
    full: FULL_BYTES_MAX,
    count: 0,
  };
  const kept: Uint8Array[] = [];
  let room: number = keepMax[print];
  let size = 0;
  return {
    async write(piece) {
      size += piece.byteLength;
      if (room > 0) kept.push(piece.slice(0, room));
      room -= Math.min(room, piece.byteLength);
      await file?.write(piece);
    },
    async end() {
      await file?.end();
      tally.messages += 1;
      tally.recipients += envelope.recipients.length;
      tally.bytes += size;
      const number = tally.messages;
      if (print !== "count") {
        await out.write(printed(number, envelope, size, Buffer.concat(kept), print));
      }
      received();
    },
    discard: async () => await file?.discard(),
  };
}

function printed(
  number: number,
  { sender, recipients }: SinkEnvelope,
  size: number,
  bytes: Buffer,
  print: Print,
): string {
  const shown = recipients.slice(0, RECIPIENTS_SHOWN_MAX).map((address) => `<${address}>`);
  const more =
    recipients.length > shown.length ? ` and ${recipients.length - shown.length} more` : "";
  const subject = printable(fieldValue(bytes, "subject") ?? "", SUBJECT_LENGTH_MAX);
  const to = `${shown.join(",")}${more}`;
  const line = `${number}: from=<${sender}> to=${to} size=${size} subject=${JSON.stringify(subject)}\n`;
  if (print === "line") return line;
  const body = print === "headers" ? bytes.subarray(0, headerEnd(bytes)) : bytes;
  const cut = print === "full" && size > bytes.byteLength;
  const rest = cut ? `\n[${size - bytes.byteLength} more bytes]\n` : "\n";
  return `${line}${body.toString("utf8").replaceAll("\r\n", "\n")}${rest}`;
}

type Saver = SinkMessage;

/** A file that has its name only when it is whole. */
function saver(directory: string, name: string): Saver {
  const path = join(directory, name);
  const scratch = `${path}.part`;
  let file: FileHandle | undefined;
  const opened = async () => {
    file ??= await open(scratch, "w", 0o600);
    return file;
  };
  const close = async () => {
    await file?.close();
    file = undefined;
  };
  return {
    async write(piece) {
      await (await opened()).writeFile(piece);
    },
    async end() {
      await opened();
      await close();
      await rename(scratch, path);
    },
    async discard() {
      await close();
      await rm(scratch, { force: true });
    },
  };
}
