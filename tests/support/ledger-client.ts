import { type SmtpDialog, smtpDialog } from "./smtp-dialog.ts";

/** The domain of every recipient; the local part is the message's number. */
export const LEDGER_DOMAIN = "ledger.example.net";
/** The domain of every sender; the local part is the message's number, so that a bounce tells whose it is. */
export const SENDER_DOMAIN = "client.example.org";

/** Clients that number their messages and keep a ledger of what the server promised. */
export interface LedgerClient {
  /** When each message's 250 after the final dot was read, by number. A number that is missing was promised nothing. */
  readonly acknowledged: ReadonlyMap<number, number>;
  /** Messages that were tried, acknowledged or not. */
  readonly tried: () => number;
  /** Replies to the final dot other than 250, newest last. */
  readonly refusals: readonly string[];
  /** Sends on this many connections until told to stop; a connection that ends is opened again. Resolves when all have ended. */
  send(port: number, sessions: number, until: AbortSignal): Promise<void>;
  /** Sends so many messages on so many connections. */
  sendSome(port: number, sessions: number, messages: number): Promise<void>;
}

export interface LedgerClientOptions {
  /** The body of a message after its header. */
  readonly body?: (number: number) => string;
}

/** Between attempts to connect while the server is down. */
const RECONNECT_MS = 10;
/** A server that says nothing for so long is a failure of its own. */
const REPLY_MS = 20_000;

/** Opens an empty ledger; numbers begin at 1. */
export function ledgerClient(options: LedgerClientOptions = {}): LedgerClient {
  const acknowledged = new Map<number, number>();
  const refusals: string[] = [];
  const body = options.body ?? ((number) => `message ${number}\r\n`);
  let last = 0;

  async function sendOne(dialog: SmtpDialog): Promise<void> {
    last += 1;
    const number = last;
    const from = `MAIL FROM:<${number}@${SENDER_DOMAIN}>`;
    dialog.write(`${from}\r\nRCPT TO:<${number}@${LEDGER_DOMAIN}>\r\nDATA\r\n`);
    let reply = await dialog.reply(REPLY_MS);
    for (const code of [250, 354]) {
      if (reply.code >= 400) refusals.push(reply.raw);
      reply = await dialog.reply(REPLY_MS);
      if (code === 354 && reply.code !== 354) return;
    }
    dialog.write(`Subject: ${number}\r\n\r\n${body(number)}.\r\n`);
    const answer = await dialog.reply(REPLY_MS);
    if (answer.code === 250) acknowledged.set(number, performance.now());
    else refusals.push(answer.raw);
  }

  async function session(port: number, goOn: () => boolean): Promise<void> {
    while (goOn()) {
      try {
        await using dialog = await smtpDialog(port);
        await dialog.say("EHLO client.example.org");
        while (goOn()) await sendOne(dialog);
      } catch {
        // The server went away; what it did not acknowledge is not in the ledger.
        await Bun.sleep(RECONNECT_MS);
      }
    }
  }

  return {
    acknowledged,
    tried: () => last,
    refusals,
    async send(port, sessions, until) {
      const goOn = () => !until.aborted;
      await Promise.all(Array.from({ length: sessions }, () => session(port, goOn)));
    },
    async sendSome(port, sessions, messages) {
      const end = last + messages;
      const goOn = () => last < end;
      await Promise.all(Array.from({ length: sessions }, () => session(port, goOn)));
    },
  };
}
