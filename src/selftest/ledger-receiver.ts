import { createServer, type Server, type Socket } from "node:net";
import { type Clock, realWorld } from "../lib/world.ts";
import { type Behaviour, serveReceiver, type Transaction, type Whim } from "./receiver-session.ts";

/** One message, taken over for one recipient. */
export interface Take {
  /** When the 250 was written. */
  readonly at: number;
  /** When the sender was told to go ahead with the content: it was alive then. */
  readonly since: number;
  /** A 250 was written to a connection that was still there. Without one the sender must try again. */
  readonly answered: boolean;
}

/** A next hop that keeps a ledger of what it took over: every 250 after a final dot is a responsibility. */
export interface LedgerReceiver extends AsyncDisposable {
  readonly port: number;
  /** What was taken over, by number; more than one is a duplicate. */
  readonly taken: ReadonlyMap<number, readonly Take[]>;
  /** The same for bounces, by the number whose rejection each reports. */
  readonly bounced: ReadonlyMap<number, readonly Take[]>;
  /** Numbers that were rejected at least once. */
  readonly rejected: ReadonlySet<number>;
  /** What arrived and is not a numbered message as it was sent, or a bounce that tells what it must; the first few. */
  readonly damaged: readonly string[];
  /** All that was taken over, bounces included. */
  count(): number;
  /** Connections at this instant. */
  connections(): number;
  /** Reads nothing more, as a host does that hangs; connections open all the same. */
  pause(): void;
  resume(): void;
  /** Ends all connections and listens no more, as a host does that crashes. */
  down(): Promise<void>;
  /** Listens again, on the same port. */
  up(): Promise<void>;
}

export interface LedgerReceiverOptions {
  readonly port?: number;
  /** An address of the loopback network; 127.0.0.1 by default. */
  readonly host?: string;
  /** Asked for each RCPT; bounces are always taken. */
  readonly atRcpt?: (number: number) => Whim;
  /** Asked for each final dot, with the first of the message's numbers. */
  readonly atDot?: (number: number) => Whim;
  /** How long the answer to a final dot takes. */
  readonly dotDelayMs?: number;
  /** How long each greeting takes. */
  readonly greetingDelayMs?: () => number;
  readonly clock?: Clock;
}

/** A 250 so young when its connection is cut from this side may never have been read. */
const UNREAD_MS = 250;

/** How much is kept of what arrived damaged. */
const DAMAGED_MAX = 20;
const DAMAGED_CHARS_MAX = 4000;

/** Listens. */
export async function ledgerReceiver(options: LedgerReceiverOptions = {}): Promise<LedgerReceiver> {
  const { host = "127.0.0.1", clock = realWorld.clock } = options;
  const books = openBooks(clock);
  const sockets = new Map<Socket, { last?: Entry }>();
  let paused = false;
  let { port = 0 } = options;

  const behaviour = (socket: Socket): Behaviour => ({
    rcpt: (number, isBounce) => {
      const whim = isBounce ? "take" : (options.atRcpt?.(number) ?? "take");
      if (whim === "reject") books.reject([number]);
      return whim;
    },
    dot: ({ numbers, isBounce }) => {
      const whim = isBounce ? "take" : (options.atDot?.(numbers[0] ?? 0) ?? "take");
      if (whim === "reject") books.reject(numbers);
      return whim;
    },
    take(transaction, answered) {
      const entry = books.take(transaction, answered);
      const connection = sockets.get(socket);
      if (connection !== undefined) connection.last = entry;
    },
    dotDelayMs: options.dotDelayMs ?? 0,
    greetingDelayMs: options.greetingDelayMs?.() ?? 0,
    clock,
  });
  const server = createServer((socket) => {
    sockets.set(socket, {});
    socket.once("close", () => sockets.delete(socket));
    if (paused) socket.pause();
    serveReceiver(socket, behaviour(socket));
    if (paused) socket.pause();
  });
  const down = async (): Promise<void> => {
    for (const [socket, { last }] of sockets) {
      if (last !== undefined && clock.now() - last.at < UNREAD_MS) last.answered = false;
      socket.destroy();
    }
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  const up = async (): Promise<void> => {
    if (!server.listening) port = await listening(server, port, host);
  };
  await up();
  return {
    port,
    ...books.read,
    connections: () => sockets.size,
    pause() {
      paused = true;
      for (const socket of sockets.keys()) socket.pause();
    },
    resume() {
      paused = false;
      for (const socket of sockets.keys()) socket.resume();
    },
    down,
    up,
    [Symbol.asyncDispose]: down,
  };
}

function listening(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}

interface Entry {
  readonly at: number;
  readonly since: number;
  answered: boolean;
}

/** Where it is written down what was taken over. */
function openBooks(clock: Clock) {
  const taken = new Map<number, Entry[]>();
  const bounced = new Map<number, Entry[]>();
  const rejected = new Set<number>();
  const damaged: string[] = [];
  let count = 0;
  return {
    read: { taken, bounced, rejected, damaged, count: () => count },
    reject(numbers: readonly number[]) {
      for (const number of numbers) rejected.add(number);
    },
    take(transaction: Transaction, answered: boolean): Entry {
      const { isBounce, numbers, since, damage } = transaction;
      const entry = { at: clock.now(), since, answered };
      const ledger = isBounce ? bounced : taken;
      count += 1;
      for (const number of numbers) ledger.set(number, [...(ledger.get(number) ?? []), entry]);
      if (damage !== undefined && damaged.length < DAMAGED_MAX) {
        damaged.push(damage.slice(0, DAMAGED_CHARS_MAX));
      }
      return entry;
    },
  };
}
