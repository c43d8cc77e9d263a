import { connect, type Socket } from "node:net";
import type { Clock } from "../lib/world.ts";

/** One reply of a server. */
export interface PeerReply {
  readonly code: number;
  /** All of its lines, joined by CRLF. */
  readonly text: string;
}

/** The client's end of an SMTP connection that may end at any moment, which is what it is for. */
export interface SmtpPeer {
  write(text: string): void;
  /** The next reply. Rejects when the connection has ended, or when nothing comes for too long. */
  reply(): Promise<PeerReply>;
  /** Ends the connection at once. */
  drop(): void;
}

export interface SmtpPeerOptions {
  readonly port: number;
  readonly clock: Clock;
  /** A server that says nothing for so long counts as gone. */
  readonly replyMs: number;
}

/** Connects to 127.0.0.1 and reads the greeting. */
export async function openPeer({ port, clock, replyMs }: SmtpPeerOptions): Promise<SmtpPeer> {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.setNoDelay(true);
  const lines = readLines(socket);
  const reply = async (): Promise<PeerReply> => {
    const cancel = clock.after(replyMs, () => socket.destroy(new Error("the server is silent")));
    const read: string[] = [];
    try {
      do read.push(await lines.next());
      while (read.at(-1)?.[3] === "-");
    } finally {
      cancel();
    }
    return { code: Number(read[0]?.slice(0, 3)), text: read.join("\r\n") };
  };
  await reply();
  return {
    write: (text) => void socket.write(text),
    reply,
    drop: () => void socket.destroy(),
  };
}

/** Cuts what arrives into lines; one reader at a time. */
function readLines(socket: Socket): { next(): Promise<string> } {
  const ready: string[] = [];
  let rest = "";
  let ended: Error | undefined;
  let wake: (() => void) | undefined;
  const end = (error: Error): void => {
    ended ??= error;
    wake?.();
  };
  socket.on("data", (chunk) => {
    const lines = `${rest}${chunk}`.split("\r\n");
    rest = lines.pop() ?? "";
    ready.push(...lines);
    wake?.();
  });
  socket.on("error", end);
  socket.on("close", () => end(new Error("the server closed the connection")));
  return {
    async next() {
      for (;;) {
        const line = ready.shift();
        if (line !== undefined) return line;
        if (ended !== undefined) throw ended;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
