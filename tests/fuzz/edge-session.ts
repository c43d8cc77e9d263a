import { SmtpSession } from "../../src/edge/session.ts";
import { realWorld } from "../../src/lib/world.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import type { Event } from "../../src/observe/events.ts";
import { ear } from "../dialogues/support/line.ts";
import { contentOf, OPTIONS, testDoor } from "../edge/edge-fixture.ts";
import { below } from "./support/mutate.ts";

/** Limits so small that random input runs into them. */
export const LIMITS = { message: 3000, recipients: 3, errors: 20, spill: 64 } as const;

/** What differs from one conversation to the next. */
export interface Manner {
  readonly bareLineEnds: "normalise" | "refuse";
  readonly nulBytes: "accept" | "refuse";
  readonly trusted: boolean;
}

/** One message as the queue got it, on one line; content is one character per octet. */
export interface Accepted {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly content: string;
}

/** All that came out of a conversation. */
export interface Conversation {
  /** Whole replies, the lines of one joined by LF; the greeting is the first. */
  readonly replies: readonly string[];
  readonly accepted: readonly Accepted[];
  /** Why the session was over: the client's end of input, or the server. */
  readonly endedBy: "client" | "server";
}

/** How the bytes reach the session. */
export interface Pieces {
  readonly pieces: readonly Uint8Array[];
  /** Waits between pieces as long as the session wants; otherwise everything arrives at once, and waits inside. */
  readonly isPatient: boolean;
  /** Vanishes behind the last piece, instead of waiting for answers. */
  readonly vanishes?: boolean;
  /** What the client says once STARTTLS is answered; without it STARTTLS is not offered. */
  readonly afterTls?: readonly Uint8Array[];
  /** The session is encrypted from its beginning. */
  readonly tls?: string;
}

const TLS = "TLSv1.3 TLS_AES_256_GCM_SHA384";
const CONTROL = /[\p{Cc}\u2028\u2029]/u;
const HANG_MS = 20_000;

/** Feeds a session its input and waits until it is over. Throws when it never is, or says what is no SMTP. */
export async function converse(manner: Manner, input: Pieces): Promise<Conversation> {
  const heard = ear();
  const envelopes: Envelope[] = [];
  // One id for all: replies must not depend on what came before.
  const accept = (envelope: Envelope) => Promise.resolve(["ID"].slice(0, envelopes.push(envelope)));
  const door = testDoor({ accept });
  const over = Promise.withResolvers<void>();
  const handshake = Promise.withResolvers<void>();
  let resumed = Promise.withResolvers<void>();
  resumed.resolve();
  const hasTls = input.afterTls !== undefined || input.tls !== undefined;
  let isOver = false;
  let hasHandshake = false;
  const leave = () => {
    isOver = true;
    over.resolve();
  };
  const session = new SmtpSession(
    {
      ...OPTIONS,
      ...manner,
      listener: "fuzz",
      messageBytesMax: LIMITS.message,
      headerBytesMax: LIMITS.message,
      recipientsMax: LIMITS.recipients,
      // Errors count on across a handshake: they are what we know of the client, not what it told us.
      errorsMax: hasTls ? Number.MAX_SAFE_INTEGER : LIMITS.errors,
      spillBytes: LIMITS.spill,
    },
    {
      wire: {
        write: (text) => {
          heard.push(text);
          return true;
        },
        pause: () => {
          resumed = Promise.withResolvers();
        },
        resume: () => resumed.resolve(),
        startTls: () => {
          hasHandshake = true;
          handshake.resolve();
        },
        end: leave,
        destroy: leave,
      },
      door,
      emit: expectPrintable,
      world: realWorld,
      ip: "192.0.2.1",
      trusted: manner.trusted,
      tls: input.tls,
      hasCertificate: () => hasTls,
    },
  );

  async function feed(pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      session.receive(piece);
      if (input.isPatient) await Promise.race([resumed.promise, over.promise, handshake.promise]);
    }
  }

  session.open();
  await feed(input.pieces);
  if (input.afterTls !== undefined) {
    // Whatever is being stored at the moment is answered before STARTTLS is read.
    await inTime(Promise.race([idle(() => hasHandshake || isOver), handshake.promise]));
    session.secured(TLS);
    await feed(input.afterTls);
  }
  if (input.vanishes === true) session.gone();
  else {
    session.inputEnded();
    await inTime(over.promise);
    session.gone();
  }
  heard.close();
  const replies: string[] = [];
  for (let reply = await heard.hear(); reply !== "closed"; reply = await heard.hear()) {
    replies.push(reply.join("\n"));
  }
  const accepted = await Promise.all(envelopes.map(shown));
  const last = replies.at(-1)?.slice(0, 3);
  return { replies, accepted, endedBy: last === "421" || last === "221" ? "server" : "client" };
}

/** Lets everything happen that needs no time, or until `isDone`. */
async function idle(isDone: () => boolean): Promise<void> {
  for (let turns = 0; turns < 20 && !isDone(); turns += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function inTime(promise: Promise<unknown>): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("the session hangs")), HANG_MS);
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Nothing of a client reaches a log with a control character in it. */
function expectPrintable(event: Event): void {
  const text = JSON.stringify(event, (_, value: unknown) => {
    if (typeof value === "string" && CONTROL.test(value)) throw new Error(`event: ${value}`);
    return value;
  });
  if (text.length > 8192) throw new Error(`an event of ${text.length} characters`);
}

async function shown(envelope: Envelope): Promise<Accepted> {
  return {
    sender: envelope.sender,
    recipients: envelope.recipients.map(({ address }) => address),
    content: await contentOf(envelope),
  };
}

/** `bytes` in pieces cut at random. */
export function cut(random: () => number, bytes: Uint8Array): readonly Uint8Array[] {
  const cuts = Array.from({ length: below(random, 12) }, () => below(random, bytes.length + 1));
  const bounds = [0, ...cuts.toSorted((one, other) => one - other), bytes.length];
  return bounds
    .slice(1)
    .map((end, index) => bytes.subarray(bounds[index], end))
    .filter((piece) => piece.length > 0);
}

/** `bytes` one by one. */
export function crumbs(bytes: Uint8Array): readonly Uint8Array[] {
  return Array.from(bytes, (byte) => Uint8Array.of(byte));
}
