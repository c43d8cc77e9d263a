import { createServer, type Socket } from "node:net";
import { readReplies } from "./relay-model.ts";

/** What a peer hears: a connection, a command line, or the end of a message. */
export interface Heard {
  readonly kind: "connection" | "command" | "message";
  /** The command line, or the data with its end; one character per octet. */
  readonly text: string;
  /** How much the peer had said by then. */
  readonly saidBefore: number;
}

/** What a peer does about it. */
export interface Reaction {
  /** Said in these pieces; one character per octet. */
  readonly pieces: readonly string[];
  /** Afterwards: goes on, hangs up, hears nothing any more, or says the same without end. */
  readonly next: "go-on" | "hang-up" | "deaf" | { readonly endless: string };
}

/** One connection from the peer's side. */
export interface Talk {
  readonly heard: Heard[];
  /** All that the peer said, in order. */
  said: string;
  /** How much it had said after each write. */
  readonly writes: number[];
}

export interface HostilePeer extends AsyncDisposable {
  readonly port: number;
  readonly talks: readonly Talk[];
  /** Resolves when everything that was to be said is said, and the other side has had the time to read it. */
  settled(): Promise<void>;
}

/** Whoever reads on for so long never stops. */
const ENDLESS_BYTES_MAX = 8 * 1024 * 1024;

/** A server on loopback that reacts as it is told, as to whether what comes is a command or a message too. */
export async function hostilePeer(react: (heard: Heard) => Reaction): Promise<HostilePeer> {
  const talks: Talk[] = [];
  const sockets = new Set<Socket>();
  const speaking = new Set<Promise<void>>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    const talk: Talk = { heard: [], said: "", writes: [] };
    talks.push(talk);
    let turn = Promise.resolve();
    listen(socket, (kind, text) => {
      const heard = { kind, text, saidBefore: talk.said.length };
      talk.heard.push(heard);
      const reaction = react(heard);
      turn = turn.then(() => speak(socket, talk, reaction));
      speaking.add(turn);
      return reaction;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    talks,
    async settled() {
      while (speaking.size > 0) {
        const all = [...speaking];
        await Promise.all(all);
        for (const one of all) speaking.delete(one);
      }
      for (let turns = 0; turns < 4; turns += 1) await nextTurn();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Cuts what a client sends into commands and, behind a DATA whose reply in order is 3xx, a message. */
function listen(socket: Socket, hear: (kind: Heard["kind"], text: string) => Reaction): void {
  let rest = "";
  let heard = 0;
  let answers = "";
  let isDeaf = false;
  let inData = false;
  const tell = (kind: Heard["kind"], text: string) => {
    const { pieces, next } = hear(kind, text);
    isDeaf = next !== "go-on";
    answers += pieces.join("");
    const code = text === "DATA" ? readReplies(answers).codes[heard] : 0;
    inData = kind === "command" && Math.floor((code ?? 0) / 100) === 3;
    heard += 1;
  };
  tell("connection", "");
  socket.on("data", (chunk: Buffer) => {
    rest += chunk.toString("latin1");
    while (!isDeaf) {
      const end = inData ? `\r\n${rest}`.indexOf("\r\n.\r\n") : rest.indexOf("\r\n");
      if (end < 0) return;
      const length = end + (inData ? 3 : 2);
      const text = rest.slice(0, inData ? length : end);
      rest = rest.slice(length);
      tell(inData ? "message" : "command", text);
    }
  });
}

async function speak(socket: Socket, talk: Talk, { pieces, next }: Reaction): Promise<void> {
  for (const piece of pieces) {
    if (!say(socket, talk, piece)) return;
    await nextTurn();
  }
  if (next === "hang-up") socket.end();
  if (typeof next !== "object") return;
  for (let said = 0; say(socket, talk, next.endless); said += next.endless.length) {
    if (said > ENDLESS_BYTES_MAX) throw new Error("nobody stops a peer that never ends its reply");
    await nextTurn();
  }
}

function say(socket: Socket, talk: Talk, text: string): boolean {
  if (socket.destroyed || !socket.writable) return false;
  talk.said += text;
  talk.writes.push(talk.said.length);
  socket.write(Buffer.from(text, "latin1"));
  return true;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
