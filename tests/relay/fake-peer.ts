import { createServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** What a peer does in place of a reply: hangs up, or says nothing from then on. An empty reply is none at all. */
export const DROP = Symbol("drop");
export const STALL = Symbol("stall");
export type Reaction = string | typeof DROP | typeof STALL;

/** Everything one connection said, in order. */
export interface Transcript {
  readonly commands: string[];
  /** The data of each message, up to the line of the final dot, as received. */
  readonly messages: Buffer[];
  secure: boolean;
  socket: Socket;
}

export interface Script {
  readonly greeting?: Reaction;
  /** Extensions after the name. */
  readonly extensions?: readonly string[];
  /** Reaction to a command line; `undefined` for the usual one. */
  readonly on?: (command: string, transcript: Transcript) => Reaction | undefined;
  /** Reaction to the end of data. */
  readonly onData?: (message: Buffer, transcript: Transcript) => Reaction | undefined;
  /** Called with each chunk of data; a reaction is sent at once. */
  readonly onDataChunk?: (transcript: Transcript) => Reaction | undefined;
  readonly tls?: { readonly key: string; readonly cert: string };
  /** What is done in place of the handshake. */
  readonly brokenTls?: boolean;
  readonly host?: string;
}

export interface FakePeer {
  readonly port: number;
  readonly transcripts: Transcript[];
  close(): Promise<void>;
}

const END_OF_DATA = Buffer.from("\r\n.\r\n");

/** A scripted SMTP server on loopback. */
export async function openPeer(script: Script = {}): Promise<FakePeer> {
  const transcripts: Transcript[] = [];
  const server: Server = createServer((socket) => {
    const transcript: Transcript = { commands: [], messages: [], secure: false, socket };
    transcripts.push(transcript);
    serve(socket, script, transcript);
    react(socket, script.greeting ?? "220 peer.example ESMTP");
  });
  await new Promise<void>((resolve) => server.listen(0, script.host ?? "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address ? address.port : 0,
    transcripts,
    close: () =>
      new Promise((resolve) => {
        for (const { socket } of transcripts) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

function react(socket: Socket, reaction: Reaction): void {
  if (reaction === DROP) socket.destroy();
  else if (reaction === STALL) socket.write = () => true;
  else if (reaction !== "") socket.write(`${reaction}\r\n`);
}

function serve(socket: Socket, script: Script, transcript: Transcript): void {
  let buffer = Buffer.alloc(0);
  let inData = false;
  socket.on("error", () => undefined);

  const onChunk = (chunk: Buffer): void => {
    buffer = Buffer.concat([buffer, chunk]);
    for (;;) {
      if (inData) {
        const early = buffer.length > 0 ? script.onDataChunk?.(transcript) : undefined;
        if (early !== undefined) {
          react(socket, early);
          return;
        }
        // An empty message is a dot alone.
        const isEmpty = buffer.subarray(0, 3).toString() === ".\r\n";
        const end = isEmpty ? -2 : buffer.indexOf(END_OF_DATA);
        if (end === -1) return;
        const message = buffer.subarray(0, end + 2);
        buffer = buffer.subarray(end + END_OF_DATA.length);
        inData = false;
        transcript.messages.push(Buffer.from(message));
        react(socket, script.onData?.(message, transcript) ?? "250 2.0.0 Ok: queued as 12345");
        continue;
      }
      const end = buffer.indexOf("\r\n");
      if (end < 0) return;
      const command = buffer.subarray(0, end).toString();
      buffer = buffer.subarray(end + 2);
      transcript.commands.push(command);
      const reaction = script.on?.(command, transcript) ?? usual(command, script, transcript);
      if (command === "STARTTLS" && typeof reaction === "string" && reaction.startsWith("220")) {
        socket.off("data", onChunk);
        react(socket, reaction);
        encrypt(socket, script, transcript);
        return;
      }
      react(socket, reaction);
      if (reaction === DROP) return;
      if (command === "DATA" && typeof reaction === "string" && reaction.startsWith("354"))
        inData = true;
    }
  };
  socket.on("data", onChunk);
}

function encrypt(socket: Socket, script: Script, transcript: Transcript): void {
  if (script.brokenTls || !script.tls) {
    socket.once("data", () => socket.end("this is no handshake\r\n"));
    return;
  }
  const secured = new TLSSocket(socket, { isServer: true, ...script.tls });
  transcript.secure = true;
  serve(secured, script, transcript);
}

function usual(command: string, script: Script, transcript: Transcript): Reaction {
  const verb = command.slice(0, 4).toUpperCase();
  if (verb === "EHLO") {
    const tls = (script.tls || script.brokenTls) && !transcript.secure ? ["STARTTLS"] : [];
    const lines = ["peer.example", ...(script.extensions ?? ["PIPELINING"]), ...tls];
    return lines
      .map((line, index) => `250${index === lines.length - 1 ? " " : "-"}${line}`)
      .join("\r\n");
  }
  if (verb === "DATA") return "354 go ahead";
  if (verb === "QUIT") return "221 2.0.0 Bye";
  if (verb === "STAR") return "220 2.0.0 Ready to start TLS";
  if (verb === "AUTH") return "235 2.7.0 Authentication successful";
  return "250 2.1.0 Ok";
}
