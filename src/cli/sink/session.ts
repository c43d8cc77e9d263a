import { dotReader } from "./dot-reader.ts";
import type { Fault, Stage } from "./faults.ts";
import { readPath } from "./path.ts";

/** A message on its way in. */
export interface SinkEnvelope {
  readonly sender: string;
  readonly recipients: readonly string[];
}

/** Takes the content of one message. */
export interface SinkMessage {
  /** Takes a piece; resolves when the next may come. */
  write(piece: Uint8Array): Promise<void>;
  /** The message is whole and accepted. */
  end(): Promise<void>;
  /** It is not accepted after all. */
  discard(): Promise<void>;
}

export interface SessionOptions {
  readonly hostname: string;
  readonly sizeMax: number;
  readonly recipientsMax: number;
  readonly faults: (stage: Stage) => Fault | undefined;
  /** Lower-case addresses that do not exist. */
  readonly unknown: ReadonlySet<string>;
  readonly begin: (envelope: SinkEnvelope) => SinkMessage;
}

/** What the connection does next. */
export type Next = "go-on" | "close" | "stall" | "drop";

const LINE_BYTES_MAX = 4096;
const ERRORS_MAX = 100;
const DEFERRED = "451 4.3.0 Deferred as told";
const REFUSED = "554 5.7.1 Refused as told";
const LF = 0x0a;
const NOTHING = new Uint8Array();

/** A message between `354` and the final dot. */
interface Incoming {
  readonly read: ReturnType<typeof dotReader>;
  readonly message: SinkMessage;
  size: number;
}

/**
 * The server's side of one SMTP session (RFC 5321): bytes in, replies out. It reads commands, and data between `354` and
 * the final dot.
 */
export class SinkSession {
  readonly #options: SessionOptions;
  #out = "";
  #errors = 0;
  /** Of what the client sent last. */
  #unread: Uint8Array = NOTHING;
  /** The command line that is not whole yet. */
  #line: Buffer = Buffer.alloc(0);
  #greeted = false;
  #sender: string | undefined;
  #recipients: string[] = [];
  #incoming: Incoming | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** What happens when a client has connected. */
  greet(): Next {
    const fault = this.#options.faults("connect");
    if (fault === "defer") return this.#farewell("421 4.3.2 Deferred as told");
    if (fault === "reject") return this.#farewell(REFUSED);
    return fault ?? this.#reply(`220 ${this.#options.hostname} ESMTP sink`);
  }

  /** Takes what the client sent, commands in a row included (RFC 2920). */
  async take(chunk: Uint8Array): Promise<Next> {
    let next: Next = "go-on";
    this.#unread = chunk;
    while (next === "go-on" && this.#unread.byteLength > 0) {
      next = this.#incoming === undefined ? this.#takeLine() : await this.#takeData(this.#incoming);
    }
    return next;
  }

  /** The replies that are due; each is given once. */
  replies(): string {
    const out = this.#out;
    this.#out = "";
    return out;
  }

  /** The client is gone: what it did not finish does not count. */
  async close(): Promise<void> {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    await incoming?.message.discard();
  }

  #takeLine(): Next {
    const end = this.#unread.indexOf(LF);
    const length = end < 0 ? this.#unread.byteLength : end + 1;
    this.#line = Buffer.concat([this.#line, this.#unread.subarray(0, length)]);
    this.#unread = this.#unread.subarray(length);
    if (this.#line.byteLength > LINE_BYTES_MAX) return this.#farewell("500 5.5.2 Line too long");
    return end < 0 ? "go-on" : this.#command();
  }

  async #takeData(incoming: Incoming): Promise<Next> {
    const { content, rest } = incoming.read(this.#unread);
    this.#unread = rest ?? NOTHING;
    for (const piece of content) {
      incoming.size += piece.byteLength;
      // What is too big is read to its end and kept nowhere.
      if (incoming.size <= this.#options.sizeMax) await incoming.message.write(piece);
    }
    return rest === undefined ? "go-on" : await this.#finish(incoming);
  }

  async #finish({ message, size }: Incoming): Promise<Next> {
    this.#incoming = undefined;
    this.#reset();
    const tooBig = size > this.#options.sizeMax;
    const fault = tooBig ? undefined : this.#options.faults("dot");
    if (!tooBig && fault === undefined) {
      await message.end();
      return this.#reply("250 2.0.0 Ok");
    }
    await message.discard();
    return tooBig ? this.#reply("552 5.3.4 Too big") : this.#fail(fault ?? "reject");
  }

  #command(): Next {
    const text = this.#line.toString("utf8").replace(/\r?\n$/u, "");
    this.#line = Buffer.alloc(0);
    const [, verb = "", argument = ""] = /^([A-Za-z]+)(?: +(.*?))? *$/su.exec(text) ?? [];
    const known: Readonly<Record<string, () => Next>> = {
      EHLO: () => this.#hello(argument, ehloReply(this.#options)),
      HELO: () => this.#hello(argument, `250 ${this.#options.hostname}`),
      MAIL: () => this.#mail(argument),
      RCPT: () => this.#rcpt(argument),
      DATA: () => this.#data(argument),
      RSET: () => this.#rset(),
      NOOP: () => this.#reply("250 2.0.0 Ok"),
      VRFY: () => this.#reply("252 2.5.0 Send it and see"),
      QUIT: () => this.#farewell("221 2.0.0 Bye"),
    };
    const name = verb.toUpperCase();
    const run = Object.hasOwn(known, name) ? known[name] : undefined;
    return run === undefined ? this.#reply("500 5.5.2 Unknown command") : run();
  }

  #hello(name: string, answer: string): Next {
    if (name === "") return this.#reply("501 5.5.4 Say your name");
    this.#greeted = true;
    this.#reset();
    return this.#reply(answer);
  }

  #mail(argument: string): Next {
    if (!this.#greeted || this.#sender !== undefined) return this.#reply("503 5.5.1 Not now");
    const path = readPath("FROM", argument);
    if (path === "syntax") return this.#reply("501 5.5.4 Expected MAIL FROM:<address>");
    if (path === "parameter") return this.#reply("555 5.5.4 Unknown parameter");
    const size = Number(path.parameters.get("SIZE") ?? 0);
    if (!(size <= this.#options.sizeMax)) return this.#reply("552 5.3.4 Too big");
    const fault = this.#options.faults("mail");
    if (fault !== undefined) return this.#fail(fault);
    this.#sender = path.address;
    return this.#reply("250 2.1.0 Ok");
  }

  #rcpt(argument: string): Next {
    if (this.#sender === undefined) return this.#reply("503 5.5.1 MAIL first");
    const path = readPath("TO", argument);
    if (path === "syntax") return this.#reply("501 5.5.4 Expected RCPT TO:<address>");
    if (path === "parameter") return this.#reply("555 5.5.4 Unknown parameter");
    const { unknown, recipientsMax, faults } = this.#options;
    if (unknown.has(path.address.toLowerCase())) return this.#reply("550 5.1.1 No such user");
    if (this.#recipients.length >= recipientsMax) {
      return this.#reply("452 4.5.3 Too many recipients");
    }
    const fault = faults("rcpt");
    if (fault !== undefined) return this.#fail(fault);
    this.#recipients.push(path.address);
    return this.#reply("250 2.1.5 Ok");
  }

  #data(argument: string): Next {
    if (argument !== "") return this.#reply("501 5.5.4 DATA takes nothing");
    const [sender, recipients] = [this.#sender, this.#recipients];
    if (sender === undefined || recipients.length === 0) return this.#reply("503 5.5.1 RCPT first");
    const fault = this.#options.faults("data");
    if (fault !== undefined) return this.#fail(fault);
    const message = this.#options.begin({ sender, recipients });
    this.#incoming = { read: dotReader(), message, size: 0 };
    return this.#reply("354 End with <CR><LF>.<CR><LF>");
  }

  #rset(): Next {
    this.#reset();
    return this.#reply("250 2.0.0 Ok");
  }

  #reset(): void {
    this.#sender = undefined;
    this.#recipients = [];
  }

  #fail(fault: Fault): Next {
    if (fault === "defer") return this.#reply(DEFERRED);
    return fault === "reject" ? this.#reply(REFUSED) : fault;
  }

  #farewell(text: string): Next {
    this.#reply(text);
    return "close";
  }

  #reply(text: string): Next {
    this.#out += `${text}\r\n`;
    if (text.startsWith("5")) this.#errors += 1;
    return this.#errors > ERRORS_MAX ? "close" : "go-on";
  }
}

function ehloReply({ hostname, sizeMax }: SessionOptions): string {
  const offers = ["PIPELINING", `SIZE ${sizeMax}`, "8BITMIME", "SMTPUTF8", "DSN"];
  const lines = [hostname, ...offers].map((line) => `250-${line}`);
  return [...lines, "250 ENHANCEDSTATUSCODES"].join("\r\n");
}
