import type { Socket } from "node:net";
import type { Clock } from "../lib/world.ts";
import { REJECTION, readLedgerBounce, readLedgerMessage } from "./ledger-message.ts";

/**
 * What a next hop does, decided at RCPT or at the final dot: `drop` cuts the connection and takes nothing over, `mute`
 * takes the message over and cuts the connection instead of saying so (RFC 1047).
 */
export type Whim = "take" | "defer" | "reject" | "drop" | "mute";

/** One message on its way in. */
export interface Transaction {
  readonly numbers: readonly number[];
  readonly isBounce: boolean;
  /** When the content was asked for. */
  readonly since: number;
  /** What is wrong with the content. */
  readonly damage?: string;
}

/** What the session asks and tells the ledger. */
export interface Behaviour {
  readonly rcpt: (number: number, isBounce: boolean) => Whim;
  readonly dot: (transaction: Transaction) => Whim;
  readonly take: (transaction: Transaction, answered: boolean) => void;
  readonly dotDelayMs: number;
  readonly greetingDelayMs: number;
  readonly clock: Clock;
}

const REPLIES = {
  take: "250 2.0.0 Ok: taken",
  defer: "451 4.3.0 Try again later",
  reject: REJECTION,
} as const;

const ANSWERS: Readonly<Record<string, string>> = {
  EHLO: "250-ledger.example\r\n250-PIPELINING\r\n250 8BITMIME",
  QUIT: "221 2.0.0 Bye",
};

const END_OF_DATA = "\r\n.\r\n";

/** Speaks SMTP with one sender until the connection ends. */
export function serveReceiver(socket: Socket, behaviour: Behaviour): void {
  const { clock } = behaviour;
  let numbers: number[] = [];
  let isBounce = false;
  /** When the content was asked for; undefined between contents. */
  let dataSince: number | undefined;
  const say = (line: string): boolean => {
    const isThere = !socket.destroyed && socket.writable;
    if (isThere) socket.write(`${line}\r\n`);
    return isThere;
  };
  const recipient = (line: string): void => {
    const number = Number(/<(\d+)@/u.exec(line)?.[1]);
    const whim = behaviour.rcpt(number, isBounce);
    if (whim === "take") numbers.push(number);
    if (whim === "drop" || whim === "mute") socket.destroy();
    else say(REPLIES[whim]);
  };
  const data = (): void => {
    if (numbers.length > 0) dataSince = clock.now();
    say(numbers.length > 0 ? "354 Go ahead" : "554 5.5.1 No valid recipients");
  };
  const command = (line: string): void => {
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === "RCPT") recipient(line);
    else if (verb === "DATA") data();
    else say(ANSWERS[verb] ?? "250 2.0.0 Ok");
    if (verb === "RSET" || verb === "MAIL") numbers = [];
    if (verb === "MAIL") isBounce = line.includes("<>");
  };
  const finish = (transaction: Transaction): void => {
    if (socket.destroyed) return;
    const whim = behaviour.dot(transaction);
    // Whoever writes the 250 has taken the message over, whether or not anybody reads it.
    if (whim === "take") behaviour.take(transaction, say(REPLIES.take));
    else if (whim === "mute") behaviour.take(transaction, false);
    else if (whim !== "drop") say(REPLIES[whim]);
    if (whim === "drop" || whim === "mute") socket.destroy();
  };
  const content = (text: string, since: number): void => {
    const transaction = readContent(text, { numbers, isBounce, since });
    numbers = [];
    dataSince = undefined;
    if (behaviour.dotDelayMs === 0) finish(transaction);
    else clock.after(behaviour.dotDelayMs, () => finish(transaction));
  };

  socket.setNoDelay(true);
  socket.on("error", () => undefined);
  if (behaviour.greetingDelayMs === 0) say("220 ledger.example ESMTP");
  else clock.after(behaviour.greetingDelayMs, () => say("220 ledger.example ESMTP"));
  readPieces(socket, {
    inData: () => dataSince !== undefined,
    take: (piece) => (dataSince === undefined ? command(piece) : content(piece, dataSince)),
  });
}

/** Cuts what arrives into command lines and contents. */
function readPieces(
  socket: Socket,
  to: { readonly inData: () => boolean; readonly take: (piece: string) => void },
): void {
  let rest = "";
  socket.on("data", (chunk) => {
    rest += chunk.toString();
    for (;;) {
      const end = to.inData() ? END_OF_DATA : "\r\n";
      const at = rest.indexOf(end);
      if (at < 0) return;
      const piece = rest.slice(0, at + 2);
      rest = rest.slice(at + end.length);
      to.take(piece);
    }
  });
}

/** What the content says of itself, compared with what the envelope said. */
function readContent(text: string, transaction: Transaction): Transaction {
  const unstuffed = text.replace(/^\.\./gmu, ".");
  if (transaction.isBounce) {
    const { numbers, intact } = readLedgerBounce(unstuffed);
    return { ...transaction, numbers, ...(intact ? {} : { damage: `bounce:\n${unstuffed}` }) };
  }
  const message = readLedgerMessage(unstuffed);
  const damaged = { ...transaction, damage: `for ${transaction.numbers.join(" ")}:\n${unstuffed}` };
  if (message === undefined) return damaged;
  const { first, recipients, intact } = message;
  const isMeant = transaction.numbers.every((each) => each >= first && each < first + recipients);
  return intact && isMeant ? transaction : damaged;
}
