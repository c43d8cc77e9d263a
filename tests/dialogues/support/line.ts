import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** One reply, line by line, without line ends; or that the server has closed. */
export type Heard = readonly string[] | "closed";

/** A connection to a server, as far as a dialogue needs one. */
export interface Line {
  /** Sends bytes as one packet, as far as the network keeps it one. */
  send(bytes: Uint8Array): Promise<void>;
  /** What the server says next. Rejects when that is no SMTP reply, or when nothing comes. */
  hear(): Promise<Heard>;
  startTls(): Promise<void>;
  /** The client says no more. */
  end(): void;
  /** Gives the connection up. */
  drop(): void;
}

/** Nothing in a reply but what RFC 5321 §4.2 allows. */
const REPLY_LINE = /^[2-5][0-9]{2}[ -][\t -~]*$/u;
const SILENCE_MS = 10_000;

/** Cuts what a server sends into replies and hands them out one by one. */
export function ear() {
  let rest = "";
  let isClosed = false;
  let wake: () => void = () => undefined;

  /** A whole reply, or nothing yet. */
  function take(): readonly string[] | undefined {
    const lines: string[] = [];
    let at = 0;
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n", at)) {
      const line = rest.slice(at, end - 1);
      if (rest[end - 1] !== "\r" || !REPLY_LINE.test(line)) {
        throw new Error(`no SMTP reply: ${JSON.stringify(rest.slice(at, end + 1))}`);
      }
      if (lines.length > 0 && lines[0]?.slice(0, 3) !== line.slice(0, 3)) {
        throw new Error(`two codes in one reply: ${lines[0]} and ${line}`);
      }
      lines.push(line);
      at = end + 1;
      if (line[3] === "-") continue;
      rest = rest.slice(at);
      return lines;
    }
    if (isClosed && rest !== "") throw new Error(`half a reply: ${JSON.stringify(rest)}`);
    return undefined;
  }

  return {
    push(text: string): void {
      rest += text;
      wake();
    },
    close(): void {
      isClosed = true;
      wake();
    },
    async hear(): Promise<Heard> {
      for (;;) {
        const reply = take();
        if (reply !== undefined) return reply;
        if (isClosed) return "closed";
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        wake = resolve;
        const timer = setTimeout(() => reject(new Error("nothing was said")), SILENCE_MS);
        await promise.finally(() => clearTimeout(timer));
      }
    },
  };
}

/** A line over TCP to 127.0.0.1. */
export function socketLine(port: number): Line {
  const heard = ear();
  const plain = connect({ port, host: "127.0.0.1", noDelay: true });
  let socket: Socket = plain;
  const listen = () => {
    socket.on("data", (chunk: Buffer) => heard.push(chunk.toString("latin1")));
    for (const event of ["end", "close", "error"]) socket.on(event, () => heard.close());
  };
  listen();
  return {
    // Written out and read on the other side before the next packet, in all likelihood.
    send: (bytes) =>
      new Promise((resolve) => {
        socket.write(bytes, () => setImmediate(resolve));
      }),
    hear: heard.hear,
    async startTls() {
      plain.removeAllListeners("data");
      const secure = connectTls({ socket: plain, rejectUnauthorized: false });
      await new Promise<void>((resolve, reject) => {
        secure.once("secureConnect", resolve);
        secure.once("error", reject);
      });
      socket = secure;
      listen();
    },
    end: () => void socket.end(),
    drop() {
      socket.destroy();
      plain.destroy();
    },
  };
}
