import { type Clock, realWorld } from "../lib/world.ts";
import { LEDGER_DOMAIN, ledgerMessage, SENDER_DOMAIN } from "./ledger-message.ts";
import { openPeer, type PeerReply, type SmtpPeer } from "./smtp-peer.ts";

/** Clients that number every recipient they send to, and keep a ledger of what the server promised. */
export interface LedgerClient {
  /** When the 250 after the final dot was read, by number. A number that is missing was promised nothing. */
  readonly acknowledged: ReadonlyMap<number, number>;
  /** The highest number so far: recipients that were tried, acknowledged or not. */
  readonly tried: () => number;
  /** Replies of 4xx and 5xx, newest last. */
  readonly refusals: readonly string[];
  /** Sends on this many connections until told to stop; a connection that ends is opened again. Resolves when all have ended. */
  send(port: Port, sessions: number, until: AbortSignal): Promise<void>;
  /** Tries so many numbers on so many connections. */
  sendSome(port: Port, sessions: number, messages: number): Promise<void>;
}

/** Where the server listens; a function for one that moves, `undefined` while it is away. */
export type Port = number | (() => number | undefined);

export interface LedgerClientOptions {
  /** The body of a message after its header. */
  readonly body?: (number: number) => string;
  /** How many recipients, and so numbers, the next message has; 1 by default. */
  readonly recipients?: () => number;
  /** The address of a number: its local part must be the number. */
  readonly address?: (number: number) => string;
  /** The domain of all senders. */
  readonly senderDomain?: string;
  /** Rests so long after each message, so that the load has a limit. */
  readonly paceMs?: () => number;
  readonly clock?: Clock;
}

/** Between attempts to connect while the server is down. */
const RECONNECT_MS = 10;
/** After a refusal: a server in trouble is not hurried. */
const REFUSED_MS = 10;
/** A server that says nothing for so long is a failure of its own. */
const REPLY_MS = 20_000;

/** Opens an empty ledger; numbers begin at 1. */
export function ledgerClient(options: LedgerClientOptions = {}): LedgerClient {
  const { body = (number) => `message ${number}\r\n`, recipients = () => 1 } = options;
  const { address = (number) => `${number}@${LEDGER_DOMAIN}` } = options;
  const { senderDomain = SENDER_DOMAIN, paceMs = () => 0, clock = realWorld.clock } = options;
  const acknowledged = new Map<number, number>();
  const refusals: string[] = [];
  let last = 0;

  const rest = (ms: number) => new Promise<void>((resolve) => clock.after(ms, resolve));

  /** Resolves to whether the server took it. */
  async function sendOne(peer: SmtpPeer): Promise<boolean> {
    const count = recipients();
    const first = last + 1;
    const numbers = Array.from({ length: count }, (_, index) => first + index);
    last += count;
    const rcpts = numbers.map((number) => `RCPT TO:<${address(number)}>\r\n`);
    peer.write(`MAIL FROM:<${first}@${senderDomain}>\r\n${rcpts.join("")}DATA\r\n`);
    const replies: PeerReply[] = [];
    for (let due = count + 2; due > 0; due -= 1) replies.push(await peer.reply());
    if (replies.at(-1)?.code === 354) {
      peer.write(`${dotStuffed(ledgerMessage(first, count, body(first)))}.\r\n`);
      replies.push(await peer.reply());
    }
    refusals.push(...replies.filter(({ code }) => code >= 400).map(({ text }) => text));
    if (replies.length < count + 3 || replies.at(-1)?.code !== 250) return false;
    const taken = numbers.filter((_, index) => replies[index + 1]?.code === 250);
    for (const number of taken) acknowledged.set(number, clock.now());
    return true;
  }

  /** One connection, until it ends or nothing is left to send. */
  async function converse(peer: SmtpPeer, goOn: () => boolean): Promise<void> {
    peer.write(`EHLO ${SENDER_DOMAIN}\r\n`);
    await peer.reply();
    while (goOn()) {
      const pause = (await sendOne(peer)) ? paceMs() : REFUSED_MS;
      if (pause > 0) await rest(pause);
    }
  }

  async function session(port: Port, goOn: () => boolean): Promise<void> {
    while (goOn()) {
      const at = typeof port === "function" ? port() : port;
      const peer = at === undefined ? undefined : await open(at);
      if (peer === undefined) await rest(RECONNECT_MS);
      // The server went away; what it did not acknowledge is not in the ledger.
      else await converse(peer, goOn).catch(() => rest(RECONNECT_MS));
      peer?.drop();
    }
  }

  const open = (port: number): Promise<SmtpPeer | undefined> => {
    return openPeer({ port, clock, replyMs: REPLY_MS }).catch(() => undefined);
  };

  async function sessions(port: Port, count: number, goOn: () => boolean): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => session(port, goOn)));
  }

  return {
    acknowledged,
    tried: () => last,
    refusals,
    send: (port, count, until) => sessions(port, count, () => !until.aborted),
    sendSome(port, count, messages) {
      const end = last + messages;
      return sessions(port, count, () => last < end);
    },
  };
}

function dotStuffed(text: string): string {
  return text.replace(/^\./gmu, "..");
}
