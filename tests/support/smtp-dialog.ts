import { connect, type Socket } from "node:net";

/** One reply of the server, all of its lines. */
export interface DialogReply {
  readonly code: number;
  /** The text of each line without code and separator. */
  readonly lines: readonly string[];
  /** The lines exactly as received, joined by CRLF. */
  readonly raw: string;
}

/** A client that says exactly what it is told, byte for byte, and reads replies. */
export interface SmtpDialog extends AsyncDisposable {
  readonly greeting: DialogReply;
  /** Writes bytes and waits for nothing; text is written one byte per character (Latin-1). */
  write(bytes: string | Uint8Array): void;
  /** The next reply. Rejects when the connection ends or `timeoutMs` pass. */
  reply(timeoutMs?: number): Promise<DialogReply>;
  /** Writes one line (CRLF is added) and reads one reply. */
  say(line: string): Promise<DialogReply>;
  /** MAIL, RCPT to each, DATA, `message` dot-stuffed with CRLF line ends, final dot. All replies, in order. */
  mail(from: string, to: readonly string[], message: string): Promise<readonly DialogReply[]>;
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>;
  /** Drops the connection at once, without QUIT. */
  drop(): void;
}

const REPLY_TIMEOUT_MS = 10_000;

/** Connects, and waits for the greeting. */
export async function smtpDialog(port: number, host = "127.0.0.1"): Promise<SmtpDialog> {
  const socket = connect({ port, host });
  socket.setNoDelay(true);
  return dialogOver(socket);
}

/** The same over a socket that is already connecting, for TLS. */
export async function dialogOver(socket: Socket): Promise<SmtpDialog> {
  const replies = readReplies(socket);
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
  socket.once("close", () => onClosed());
  const reply = (timeoutMs = REPLY_TIMEOUT_MS) => replies.next(timeoutMs);
  const write = (bytes: string | Uint8Array) => {
    socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  };
  const say = (line: string) => {
    write(`${line}\r\n`);
    return reply();
  };
  const greeting = await reply();
  return {
    greeting,
    write,
    reply,
    say,
    async mail(from, to, message) {
      const all = [await say(`MAIL FROM:<${from}>`)];
      for (const recipient of to) all.push(await say(`RCPT TO:<${recipient}>`));
      const data = await say("DATA");
      all.push(data);
      if (data.code === 354) all.push(await say(`${dotStuffed(message)}.`));
      return all;
    },
    closed,
    drop: () => socket.destroy(),
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await closed;
    },
  };
}

function dotStuffed(message: string): string {
  const lines = message.replace(/\r?\n$/u, "").split(/\r?\n/u);
  return lines.map((line) => `${line.startsWith(".") ? "." : ""}${line}\r\n`).join("");
}

/** Cuts what arrives into replies. */
function readReplies(socket: Socket) {
  const ready: DialogReply[] = [];
  const waiting: { resolve(reply: DialogReply): void; reject(error: Error): void }[] = [];
  let rest = "";
  let lines: string[] = [];
  let ended: Error | undefined;

  const deliver = (reply: DialogReply) => {
    const first = waiting.shift();
    if (first) first.resolve(reply);
    else ready.push(reply);
  };
  const end = (error: Error) => {
    ended ??= error;
    for (const { reject } of waiting.splice(0)) reject(ended);
  };
  socket.on("data", (chunk: Buffer) => {
    rest += chunk.toString("latin1");
    for (let at = rest.indexOf("\r\n"); at >= 0; at = rest.indexOf("\r\n")) {
      const line = rest.slice(0, at);
      rest = rest.slice(at + 2);
      lines.push(line);
      if (line[3] === "-") continue;
      const texts = lines.map((each) => each.slice(4));
      deliver({ code: Number(line.slice(0, 3)), lines: texts, raw: lines.join("\r\n") });
      lines = [];
    }
  });
  socket.on("error", end);
  socket.on("close", () => end(new Error(`the server closed the connection after "${rest}"`)));

  return {
    async next(timeoutMs: number): Promise<DialogReply> {
      const first = ready.shift();
      if (first) return first;
      if (ended) throw ended;
      const { promise, resolve, reject } = Promise.withResolvers<DialogReply>();
      const entry = { resolve, reject };
      waiting.push(entry);
      const timer = setTimeout(() => {
        const at = waiting.indexOf(entry);
        if (at >= 0) waiting.splice(at, 1);
        reject(new Error(`no reply within ${timeoutMs} ms`));
      }, timeoutMs);
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
