import { createServer, type Socket } from "node:net";
import { SENDER_DOMAIN } from "./ledger-client.ts";

/** What a next hop does with one message, decided at RCPT or at the final dot. */
export type Whim = "take" | "defer" | "reject" | "drop";

/** A next hop that keeps a ledger of what it took over: every 250 after a final dot is a responsibility. */
export interface LedgerReceiver extends AsyncDisposable {
  readonly port: number;
  /** When each message was taken over, by number; more than one instant is a duplicate. */
  readonly taken: ReadonlyMap<number, readonly number[]>;
  /** The same for bounces, by the number of the message that each is about. */
  readonly bounced: ReadonlyMap<number, readonly number[]>;
  /** Numbers that were rejected at least once. */
  readonly rejected: ReadonlySet<number>;
  /** All that was taken over, bounces included. */
  count(): number;
  /** Connections at this instant. */
  connections(): number;
}

export interface LedgerReceiverOptions {
  readonly port?: number;
  /** Asked for each RCPT; bounces are always taken. */
  readonly atRcpt?: (number: number) => Whim;
  /** Asked for each final dot. */
  readonly atDot?: (number: number) => Whim;
  /** How long the answer to a final dot takes. */
  readonly dotDelayMs?: number;
}

const REPLIES = {
  take: "250 2.0.0 Ok: taken",
  defer: "451 4.3.0 Try again later",
  reject: "550 5.1.1 No such user",
} as const;

/** Listens on 127.0.0.1. */
export async function ledgerReceiver(options: LedgerReceiverOptions = {}): Promise<LedgerReceiver> {
  const taken = new Map<number, number[]>();
  const bounced = new Map<number, number[]>();
  const rejected = new Set<number>();
  const sockets = new Set<Socket>();
  let count = 0;

  const rcpt = (transaction: Transaction): Whim => {
    const whim = transaction.isBounce ? "take" : (options.atRcpt?.(transaction.number) ?? "take");
    if (whim === "reject") rejected.add(transaction.number);
    return whim;
  };
  const dot = (transaction: Transaction): Whim => {
    const { number, isBounce } = transaction;
    const whim = isBounce ? "take" : (options.atDot?.(number) ?? "take");
    if (whim === "reject") rejected.add(number);
    return whim;
  };
  const take = ({ number, isBounce }: Transaction): void => {
    count += 1;
    const ledger = isBounce ? bounced : taken;
    ledger.set(number, [...(ledger.get(number) ?? []), performance.now()]);
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    serve(socket, { rcpt, dot, take, dotDelayMs: options.dotDelayMs ?? 0 });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    taken,
    bounced,
    rejected,
    count: () => count,
    connections: () => sockets.size,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

interface Transaction {
  readonly number: number;
  readonly isBounce: boolean;
}

interface Behaviour {
  readonly rcpt: (transaction: Transaction) => Whim;
  readonly dot: (transaction: Transaction) => Whim;
  readonly take: (transaction: Transaction) => void;
  readonly dotDelayMs: number;
}

function serve(socket: Socket, behaviour: Behaviour): void {
  let rest = "";
  let inData = false;
  let transaction: Transaction | undefined;
  const say = (line: string) => void (socket.destroyed || socket.write(`${line}\r\n`));
  const answer = (whim: Whim): boolean => {
    if (whim === "drop") socket.destroy();
    else say(REPLIES[whim]);
    return whim === "take";
  };

  const recipient = (line: string): void => {
    const [, local = "", domain = ""] = /<([^@>]+)@([^>]+)>/u.exec(line) ?? [];
    const asked = { number: Number(local), isBounce: domain === SENDER_DOMAIN };
    if (answer(behaviour.rcpt(asked))) transaction = asked;
  };
  const command = (line: string): void => {
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === "RCPT") {
      recipient(line);
      return;
    }
    if (verb === "RSET" || verb === "MAIL") transaction = undefined;
    inData = verb === "DATA" && transaction !== undefined;
    const data = inData ? "354 Go ahead" : "554 5.5.1 No valid recipients";
    const answers: Readonly<Record<string, string>> = {
      EHLO: "250-ledger.example\r\n250-PIPELINING\r\n250 8BITMIME",
      DATA: data,
      QUIT: "221 2.0.0 Bye",
    };
    say(answers[verb] ?? "250 2.0.0 Ok");
  };
  const finish = (ended: Transaction): void => {
    if (socket.destroyed) return;
    const whim = behaviour.dot(ended);
    // Whoever writes the 250 has taken the message over, whether or not anybody reads it.
    if (whim === "take") behaviour.take(ended);
    answer(whim);
  };
  const endOfData = (): void => {
    const ended = transaction;
    transaction = undefined;
    inData = false;
    if (ended === undefined) return;
    if (behaviour.dotDelayMs === 0) finish(ended);
    else setTimeout(() => finish(ended), behaviour.dotDelayMs);
  };

  socket.setNoDelay(true);
  socket.on("error", () => undefined);
  say("220 ledger.example ESMTP");
  socket.on("data", (chunk) => {
    rest += chunk.toString("latin1");
    for (;;) {
      const end = rest.indexOf(inData ? "\r\n.\r\n" : "\r\n");
      if (end < 0) return;
      const line = rest.slice(0, end);
      rest = rest.slice(end + (inData ? 5 : 2));
      if (inData) endOfData();
      else command(line);
    }
  });
}
