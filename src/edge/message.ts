import type { Body } from "../mail/content.ts";
import type { Client, Envelope } from "../mail/envelope.ts";
import { QueueError } from "../mail/queue-error.ts";
import { printable, REPLY_TEXT_MAX, type Reply, reply } from "../mail/reply.ts";
import type { Emit } from "../observe/events.ts";
import type { FrontDoor } from "./accept.ts";
import { type Collector, collector } from "./collector.ts";
import { type DataScanner, dataScanner } from "./data-scanner.ts";
import type { Transaction } from "./dialog.ts";

/** How the data of messages is received. */
export interface MessageOptions {
  /** For `Received` and `Reporting-MTA`. */
  readonly hostname: string;
  /** The content alone, without the dots of transparency. */
  readonly messageBytesMax: number;
  /** A header larger than this is refused. At most `HEAD_BYTES_MAX`, or a larger one could not be seen. */
  readonly headerBytesMax: number;
  /** Messages larger than this are streamed to the door's body sink instead of being kept in memory. */
  readonly spillBytes: number;
  /** Bare CR and bare LF become CRLF, or make the message refused. */
  readonly bareLineEnds: "normalise" | "refuse";
  readonly nulBytes: "accept" | "refuse";
}

/** One message while it arrives. */
export interface IncomingMessage {
  /** Octets of content so far. */
  readonly size: number;
  readonly ended: boolean;
  /** So much came after the size was exceeded that the session should end. */
  readonly isHopeless: boolean;
  /** Reads on in `chunk`; returns where the message's bytes end. */
  take(chunk: Uint8Array, from: number): number;
  /** What the next `take` and `settle` have to wait for, if anything; never rejects. */
  readonly busy: Promise<void> | undefined;
  /** After the end of data: hands the message to the door and says what the client is told. Never rejects. */
  settle(client: Client, isGone: () => boolean): Promise<Reply>;
  /** Drops what was received. Idempotent; once `settle` was called the message is its, and this has no effect. */
  discard(): void;
}

/** How much of an oversize message is read on and dropped for the sake of a proper answer. */
export const SWALLOW_BYTES_MAX = 64 * 1024 * 1024;

/** The answer to an oversize message, at the end of data or before. */
export const TOO_LARGE = reply(552, "5.3.4", "Message size exceeds fixed limit");
const HEADER_TOO_LARGE = reply(552, "5.3.4", "Message header size exceeds fixed limit");
const BARE_LINE_END = reply(550, "5.6.0", "Message contains bare CR or LF");
const NUL_BYTE = reply(550, "5.6.0", "Message contains NUL bytes");
const NOT_QUEUED = reply(451, "4.3.0", "Error queuing message");
/** Nobody is left to hear it. */
const CLIENT_GONE = reply(451, "4.4.2", "Connection lost");

const CR = 0x0d;
const LF = 0x0a;

/** What the scan found out by the way saves whoever sends the content on a second look at each byte. */
function noted(body: Body, { sawBareLineEnd, sawDotLine }: DataScanner): Body {
  return body.kind === "bytes" ? { ...body, plain: !(sawBareLineEnd || sawDotLine) } : body;
}

/** Begins to receive the data of a transaction. */
export function incomingMessage(
  transaction: Transaction,
  options: MessageOptions,
  parts: { readonly door: FrontDoor; readonly emit: Emit },
): IncomingMessage {
  const { messageBytesMax } = options;
  const scanner = dataScanner();
  const content: Collector = collector(options.spillBytes, parts.door.openBody);
  let size = 0;
  let busy: Promise<void> | undefined;
  let isSettling = false;

  function keep(piece: Uint8Array): void {
    const before = size;
    size += piece.length;
    if (size <= messageBytesMax) busy = content.add(piece);
    else if (before <= messageBytesMax) busy = content.discard();
    else busy = undefined;
  }

  function refusal(): Reply | undefined {
    if (size > messageBytesMax) return TOO_LARGE;
    if (scanner.sawBareLineEnd && options.bareLineEnds === "refuse") return BARE_LINE_END;
    return scanner.sawNul && options.nulBytes === "refuse" ? NUL_BYTE : undefined;
  }

  async function store(client: Client, isGone: () => boolean): Promise<Reply> {
    // A client that has gone will come again with this message: taking it would mean having it twice.
    if (isGone()) return CLIENT_GONE;
    const body = noted(await content.finish(), scanner);
    if (isGone()) return CLIENT_GONE;
    if (headerExceeds(body, options.headerBytesMax)) return HEADER_TOO_LARGE;
    const envelope = envelopeOf(transaction, body, client, options.hostname);
    const [id] = await parts.door.accept(envelope);
    if (id !== undefined) return reply(250, "2.0.0", `Ok: queued as ${id}`);
    // The policies wanted none of it, so that nothing was stored.
    await content.discard();
    return reply(250, "2.0.0", "Ok");
  }

  return {
    get size() {
      return size;
    },
    get ended() {
      return scanner.ended;
    },
    get isHopeless() {
      return size - messageBytesMax > SWALLOW_BYTES_MAX;
    },
    get busy() {
      return busy;
    },
    take(chunk, from) {
      const end = scanner.take(chunk, from);
      const { piece } = scanner;
      busy = undefined;
      if (piece.length > 0) keep(piece);
      return end;
    },
    async settle(client, isGone) {
      isSettling = true;
      let answer = refusal();
      try {
        answer ??= await store(client, isGone);
      } catch (error) {
        answer = replyFor(error, parts.emit);
      }
      if (answer.code !== 250) await content.discard();
      return answer;
    },
    discard() {
      // The door may be storing it at this moment.
      if (!isSettling) void content.discard();
    },
  };
}

function envelopeOf(
  { mail, recipients, startedAt }: Transaction,
  body: Body,
  client: Client,
  receiver: string,
): Envelope {
  return {
    sender: mail.sender,
    recipients,
    content: { prefix: NO_PREFIX, body },
    client,
    receiver,
    receivedAt: startedAt,
    dsn: mail.dsn,
    eightBit: mail.eightBit,
    smtpUtf8: mail.smtpUtf8,
  };
}

const NO_PREFIX = new Uint8Array(0);

/** Whether the empty line that ends the header comes later than `bytesMax`, or not at all in a message that long. */
function headerExceeds(body: Body, bytesMax: number): boolean {
  const head = body.kind === "bytes" ? body.bytes : body.head;
  const size = body.kind === "bytes" ? head.length : body.size;
  if (size <= bytesMax) return false;
  for (let at = head.indexOf(LF); at >= 0 && at < bytesMax; at = head.indexOf(LF, at + 1)) {
    if (at === 1 || (head[at + 1] === CR && head[at + 2] === LF)) return false;
  }
  return true;
}

/** The answer for a message that could not be queued; what went wrong inside is for the log alone. */
function replyFor(error: unknown, emit: Emit): Reply {
  if (error instanceof QueueError) {
    const given = error.reply;
    if (given === undefined || given.code < 400) return NOT_QUEUED;
    return { ...given, text: printable(given.text, REPLY_TEXT_MAX) };
  }
  emit({ kind: "lifecycle", what: "error", text: `edge: cannot queue a message: ${error}` });
  return NOT_QUEUED;
}
