import { createServer, type Server, type Socket } from "node:net";

/** Where in its conversation a host is. */
export type Step = "greeting" | "ehlo" | "mail" | "rcpt" | "data" | "dot";

/** Every step, in order. */
export const STEPS: readonly Step[] = ["greeting", "ehlo", "mail", "rcpt", "data", "dot"];

/** What a host does at a step in place of its usual reply; `undefined` for that. */
export type Whim = "defer" | "reject" | "drop" | "hang" | undefined;

/** How a host treats its clients. All of it usual unless said otherwise. */
export interface Manners {
  /** Asked at each step of each conversation. */
  readonly whim?: (step: Step) => Whim;
  /** How long each reply takes. */
  readonly delayMs?: number;
  /** Takes the content one octet a second. */
  readonly readsSlowly?: boolean;
  /** Gives each reply one octet a second. */
  readonly answersSlowly?: boolean;
  /** Told of each message that was taken over. */
  readonly onTaken?: (recipients: readonly string[]) => void;
}

/** A next hop on loopback that stores nothing. */
export interface MailHost extends AsyncDisposable {
  /** Messages taken over so far. */
  taken(): number;
  /** Connections at this instant, the most there were at one instant, and all there ever were. */
  readonly connections: { readonly now: number; readonly most: number; readonly all: number };
  /** Stops listening and breaks all connections; mail for it waits until `open`. */
  shut(): Promise<void>;
  open(): Promise<void>;
}

const SLOW_MS = 1000;
const REPLIES = { defer: "451 4.3.0 Try again later", reject: "550 5.1.1 No such user" } as const;
const USUAL: Readonly<Record<Step, string>> = {
  greeting: "220 host.test ESMTP",
  ehlo: "250-host.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0",
  mail: "250 2.1.0 Ok",
  rcpt: "250 2.1.5 Ok",
  data: "354 Go ahead",
  dot: "250 2.0.0 Ok: taken",
};
const BACKLOG = 511;

/** Listens at an address of loopback. */
export async function mailHost(ip: string, port: number, manners: Manners = {}): Promise<MailHost> {
  const sockets = new Set<Socket>();
  const counts = { taken: 0, most: 0, all: 0 };
  const told = {
    ...manners,
    onTaken(recipients: readonly string[]) {
      counts.taken += 1;
      manners.onTaken?.(recipients);
    },
  };
  let server: Server | undefined;

  const open = async (): Promise<void> => {
    const opened = createServer((socket) => {
      sockets.add(socket);
      counts.all += 1;
      counts.most = Math.max(counts.most, sockets.size);
      socket.once("close", () => sockets.delete(socket));
      new Conversation(socket, told).begin();
    });
    await new Promise<void>((resolve, reject) => {
      opened.once("error", reject);
      opened.listen({ host: ip, port, backlog: BACKLOG }, resolve);
    });
    server = opened;
  };
  const shut = async (): Promise<void> => {
    const closing = server;
    server = undefined;
    for (const socket of sockets) socket.destroy();
    if (closing) await new Promise<void>((resolve) => closing.close(() => resolve()));
  };

  await open();
  return {
    taken: () => counts.taken,
    get connections() {
      return { now: sockets.size, most: counts.most, all: counts.all };
    },
    shut,
    open,
    [Symbol.asyncDispose]: shut,
  };
}

/** One connection. Content is looked at for its end only: messages may be large. */
class Conversation {
  readonly #socket: Socket;
  readonly #manners: Manners;
  #line = "";
  /** The last octets of content, in which the end may have begun; `undefined` outside of it. */
  #tail: string | undefined;
  #recipients: string[] = [];
  #isMute = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(socket: Socket, manners: Manners) {
    this.#socket = socket;
    this.#manners = manners;
  }

  begin(): void {
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.on("error", () => undefined);
    socket.once("close", () => clearInterval(this.#timer));
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    this.#answer("greeting");
  }

  #read(chunk: Buffer): void {
    if (this.#isMute) return;
    let rest = chunk.toString("latin1");
    while (rest !== "") rest = this.#tail === undefined ? this.#command(rest) : this.#content(rest);
  }

  /** Takes one line, and gives what is left. */
  #command(text: string): string {
    const end = text.indexOf("\n");
    if (end < 0) {
      this.#line += text;
      return "";
    }
    const line = `${this.#line}${text.slice(0, end)}`.trimEnd();
    this.#line = "";
    this.#react(line);
    return this.#isMute ? "" : text.slice(end + 1);
  }

  #react(line: string): void {
    const verb = line.slice(0, 4).toLowerCase();
    if (verb === "mail") this.#recipients = [];
    if (verb === "rcpt") this.#recipient(/<([^>]*)>/u.exec(line)?.[1] ?? "");
    else if (verb === "data" && this.#recipients.length === 0) this.#say("554 5.5.1 No recipients");
    else if (verb === "data") this.#data();
    else if (verb === "ehlo" || verb === "mail") this.#answer(verb);
    else this.#say(verb === "quit" ? "221 2.0.0 Bye" : "250 2.0.0 Ok");
  }

  #recipient(address: string): void {
    if (this.#answer("rcpt")) this.#recipients.push(address);
  }

  #data(): void {
    if (!this.#answer("data")) return;
    this.#tail = "\r\n";
    if (this.#manners.readsSlowly) this.#readSlowly();
  }

  /** Looks for the final dot, and gives what is behind it. */
  #content(text: string): string {
    const all = `${this.#tail}${text}`;
    const end = all.indexOf("\r\n.\r\n");
    if (end < 0) {
      this.#tail = all.slice(-4);
      return "";
    }
    this.#tail = undefined;
    // Whoever writes the 250 has taken the message over, whether or not anybody reads it.
    if (this.#answer("dot")) this.#manners.onTaken?.(this.#recipients);
    return all.slice(end + 5);
  }

  /** Gives the reply of a step; false when it is another one than usual, or none. */
  #answer(step: Step): boolean {
    const whim = this.#manners.whim?.(step);
    if (whim === "hang") this.#isMute = true;
    else if (whim === "drop") this.#socket.destroy();
    else this.#say(whim === undefined ? USUAL[step] : REPLIES[whim]);
    return whim === undefined;
  }

  #say(reply: string): void {
    const { delayMs = 0, answersSlowly } = this.#manners;
    if (answersSlowly) this.#saySlowly(`${reply}\r\n`);
    else if (delayMs > 0) setTimeout(() => this.#write(`${reply}\r\n`), delayMs);
    else this.#write(`${reply}\r\n`);
  }

  #write(text: string): void {
    if (!this.#socket.destroyed) this.#socket.write(text);
  }

  #saySlowly(text: string): void {
    let said = 0;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      this.#write(text.slice(said, said + 1));
      said += 1;
      if (said >= text.length) clearInterval(this.#timer);
    }, SLOW_MS);
  }

  /** The rest stays in the kernel, whose buffer fills, and then with the sender. */
  #readSlowly(): void {
    const socket = this.#socket;
    socket.removeAllListeners("data");
    socket.pause();
    this.#timer = setInterval(() => void socket.read(1), SLOW_MS);
  }
}
