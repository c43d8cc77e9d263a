import type { World } from "../lib/world.ts";
import { formatReply, type Reply, reply } from "../mail/reply.ts";
import type { ClientEvent, Emit } from "../observe/events.ts";
import type { FrontDoor } from "./accept.ts";
import { type CommandLines, commandLines } from "./command-lines.ts";
import {
  clientOf,
  type Dialog,
  formatLines,
  newDialog,
  runCommand,
  type Step,
  verbOf,
} from "./dialog.ts";
import {
  type IncomingMessage,
  incomingMessage,
  type MessageOptions,
  TOO_LARGE,
} from "./message.ts";
import { shownVerb, tellRefused } from "./refused.ts";

/** What every session of a listener keeps to. */
export interface SessionOptions extends MessageOptions {
  /** For events: which listener a client came in by. */
  readonly listener: string;
  readonly recipientsMax: number;
  /** So many bad commands end a session. */
  readonly errorsMax: number;
  /** How long clients that are not trusted wait for the greeting; who talks before it is sent away. 0: not at all. */
  readonly greetingPauseMs: number;
  readonly commandTimeoutMs: number;
  /** Between two blocks of data. */
  readonly dataTimeoutMs: number;
}

/** The connection under a session. */
export interface Wire {
  /** Sends text. False: much is waiting already; `drained` will be called when it is gone. */
  write(text: string): boolean;
  pause(): void;
  resume(): void;
  /** Begins the TLS handshake; `secured` will be called when it is done. */
  startTls(): void;
  /** Closes after what was written, and reads no more. */
  end(): void;
  destroy(): void;
}

/** What one session works with. */
export interface SessionParts {
  readonly wire: Wire;
  readonly door: FrontDoor;
  readonly emit: Emit;
  readonly world: World;
  readonly ip: string;
  readonly trusted: boolean;
  /** Set on a listener with implicit TLS. */
  readonly tls: string | undefined;
  readonly hasCertificate: () => boolean;
}

type Mode = "greeting" | "command" | "data" | "handshake" | "closed";

/** After so many commands in a row the other sessions get their turn. */
const COMMANDS_PER_TURN = 500;

const CLOSING = reply(221, "2.0.0", "Bye");
const START_TLS = reply(220, "2.0.0", "Ready to start TLS");
const STOPPING = reply(421, "4.3.2", "Service is stopping, try again later");
const TIMEOUT = reply(421, "4.4.2", "Idle for too long");
const EARLY = reply(421, "4.7.0", "Spoke before the greeting");
const NOT_SMTP = reply(421, "4.7.0", "This is not a web server");
const TOO_MANY_ERRORS = reply(421, "4.7.0", "Too many errors");

/**
 * One client's SMTP session (RFC 5321), apart from the socket that carries it. It is in one of these modes: `greeting`
 * until the banner is out; `command`; `data` from 354 to the end of data; `handshake` from STARTTLS to `secured`;
 * `closed`. In `command` and `data` it may hold its input back, while a message is being stored, a sink is written, or
 * the client does not read its replies; what arrives meanwhile waits, so that answers keep the order of commands.
 */
export class SmtpSession {
  readonly #options: SessionOptions;
  readonly #parts: SessionParts;
  readonly #dialog: Dialog;
  #lines: CommandLines;
  #mode: Mode = "greeting";
  #message: IncomingMessage | undefined;
  /** Replies that wait for the end of the turn, to leave in one piece. */
  #output = "";
  /** How many reasons there are not to read on. */
  #holds = 0;
  #backlog: Uint8Array[] = [];
  /** The client does not read its replies as fast as it causes them. */
  #isClogged = false;
  #isPaused = false;
  #isGone = false;
  #inputEnded = false;
  #isDraining = false;
  #errors = 0;
  #turn = 0;
  #lastVerb = "CONNECT";
  #lastAt = 0;
  #cancelTimer: (() => void) | undefined;
  #end: ClientEvent["what"] = "lost";

  constructor(options: SessionOptions, parts: SessionParts) {
    this.#options = options;
    this.#parts = parts;
    const { trusted, hasCertificate, door, world } = parts;
    const { hostname, messageBytesMax, recipientsMax } = options;
    const offersTls = () => hasCertificate() && this.#dialog.tls === undefined;
    const { refusal } = door;
    const { now } = world.clock;
    const rules = { hostname, messageBytesMax, recipientsMax, trusted, offersTls, refusal, now };
    this.#dialog = newDialog(rules, parts.ip, parts.tls);
    this.#lines = commandLines(options.bareLineEnds === "refuse");
  }

  /** Greets the client, after the pause if it has to wait for it; or sends it away with `refusal`. */
  open(refusal?: Reply): void {
    this.#tell("connected");
    this.#lastAt = this.#parts.world.clock.now();
    if (refusal !== undefined) {
      this.#dismiss(refusal);
      return;
    }
    const { greetingPauseMs } = this.#options;
    if (this.#parts.trusted || greetingPauseMs === 0) this.#greet();
    else this.#cancelTimer = this.#parts.world.clock.after(greetingPauseMs, () => this.#greet());
  }

  /** Takes bytes of the client, in order. The caller must not change them later. */
  receive(chunk: Uint8Array): void {
    if (this.#mode === "closed") return;
    this.#lastAt = this.#parts.world.clock.now();
    if (this.#mode === "greeting") {
      this.#dismiss(EARLY);
    } else if (this.#holds > 0) {
      this.#backlog.push(chunk);
      this.#pause();
    } else {
      this.#run(chunk);
      this.#flush();
    }
  }

  /** What `Wire.write` could not send at once is gone. */
  drained(): void {
    if (!this.#isClogged) return;
    this.#isClogged = false;
    this.#release();
  }

  /** The handshake that `Wire.startTls` began is done. All that was learnt before it is forgotten (RFC 3207 §4.2). */
  secured(tls: string): void {
    if (this.#mode !== "handshake") return;
    const fresh = { name: "", extended: false, tls, transaction: undefined };
    Object.assign(this.#dialog, fresh);
    this.#lines = commandLines(this.#options.bareLineEnds === "refuse");
    this.#mode = "command";
  }

  /** The client sends no more, but may still read. */
  inputEnded(): void {
    this.#inputEnded = true;
    if (this.#holds === 0) this.#leave();
  }

  /** The connection is gone. Nothing of an unfinished message stays. Idempotent. */
  gone(): void {
    if (this.#mode !== "closed") this.#close();
    if (this.#isGone) return;
    this.#isGone = true;
    this.#tell(this.#end);
  }

  /** Sends the client away as soon as no message of it is under way. */
  drain(): void {
    this.#isDraining = true;
    if (this.#mode === "handshake") this.#parts.wire.destroy();
    else if (this.#message === undefined) this.#dismiss(STOPPING);
  }

  #greet(): void {
    this.#mode = "command";
    this.#armTimer();
    this.#parts.wire.write(`220 ${this.#options.hostname} ESMTP slimta-queue\r\n`);
  }

  #run(chunk: Uint8Array): void {
    let at = 0;
    this.#turn = 0;
    while (at < chunk.length && this.#holds === 0) {
      if (this.#mode === "command") at = this.#command(chunk, at);
      else if (this.#mode === "data") at = this.#data(chunk, at);
      // Behind STARTTLS or the end: whatever was pipelined is not for us to read.
      else return;
    }
    if (at === chunk.length) return;
    this.#backlog.unshift(chunk.subarray(at));
    this.#pause();
  }

  #command(chunk: Uint8Array, from: number): number {
    const at = this.#lines.take(chunk, from);
    const { line } = this.#lines;
    if (line === undefined) return at;
    this.#turn += 1;
    if (this.#turn > COMMANDS_PER_TURN) {
      this.#hold();
      this.#parts.world.clock.after(0, () => this.#release());
    }
    if (typeof line === "string") {
      this.#lastVerb = verbOf(line);
      this.#step(runCommand(this.#dialog, this.#lastVerb, line), line);
    } else {
      this.#lastVerb = "";
      this.#refuse(line, "");
    }
    return at;
  }

  #step(step: Step, line: string): void {
    switch (step) {
      case "data":
        this.#begin();
        break;
      case "quit":
        this.#end = "disconnected";
        this.#dismiss(CLOSING);
        break;
      case "starttls":
        this.#startTls();
        break;
      case "not-smtp":
        this.#dismiss(NOT_SMTP);
        break;
      default:
        if ("code" in step) this.#answer(step, line);
        else this.#output += formatLines(250, step);
    }
  }

  #answer(answer: Reply, line: string): void {
    if (answer.code >= 400) this.#refuse(answer, line);
    else this.#say(answer);
  }

  #refuse(answer: Reply, line: string): void {
    this.#say(answer);
    tellRefused(this.#parts.emit, this.#dialog, answer, line);
    // Whole batches of refused recipients are no sign of a broken client.
    const isError = this.#parts.trusted ? answer.code === 500 : answer.code !== 503;
    if (!isError || answer.code < 500) return;
    this.#errors += 1;
    if (this.#errors >= this.#options.errorsMax) this.#dismiss(TOO_MANY_ERRORS);
  }

  #begin(): void {
    const { transaction } = this.#dialog;
    if (transaction === undefined) return;
    this.#message = incomingMessage(transaction, this.#options, this.#parts);
    this.#mode = "data";
    this.#output += "354 End data with <CR><LF>.<CR><LF>\r\n";
  }

  #data(chunk: Uint8Array, from: number): number {
    const message = this.#message;
    if (message === undefined) return chunk.length;
    const at = message.take(chunk, from);
    if (message.ended) {
      this.#hold();
      this.#mode = "command";
      void this.#finish(message);
    } else if (message.isHopeless) {
      this.#dismiss(TOO_LARGE);
    } else if (message.busy !== undefined) {
      this.#hold();
      void message.busy.then(() => this.#release());
    }
    return at;
  }

  async #finish(message: IncomingMessage): Promise<void> {
    await message.busy;
    const isGone = () => this.#mode === "closed";
    const answer = await message.settle(clientOf(this.#dialog), isGone);
    if (isGone()) return;
    if (answer.code >= 400) tellRefused(this.#parts.emit, this.#dialog, answer, "DATA");
    this.#say(answer);
    this.#message = undefined;
    this.#dialog.transaction = undefined;
    this.#errors = 0;
    if (answer.code === 421) this.#leave();
    else if (this.#isDraining) this.#dismiss(STOPPING);
    this.#release();
  }

  #startTls(): void {
    this.#say(START_TLS);
    this.#flush();
    this.#mode = "handshake";
    this.#backlog = [];
    this.#parts.wire.startTls();
  }

  #say(answer: Reply): void {
    this.#output += `${formatReply(answer)}\r\n`;
  }

  #flush(): void {
    if (this.#output === "") return;
    const output = this.#output;
    this.#output = "";
    if (this.#parts.wire.write(output) || this.#isClogged) return;
    this.#isClogged = true;
    this.#hold();
  }

  #hold(): void {
    this.#holds += 1;
  }

  #release(): void {
    this.#holds -= 1;
    if (this.#mode === "closed") return;
    this.#lastAt = this.#parts.world.clock.now();
    while (this.#holds === 0) {
      const chunk = this.#backlog.shift();
      if (chunk === undefined) break;
      this.#run(chunk);
    }
    this.#flush();
    if (this.#holds > 0) return;
    if (this.#inputEnded) this.#leave();
    else this.#resume();
  }

  #pause(): void {
    if (!this.#isPaused) this.#parts.wire.pause();
    this.#isPaused = true;
  }

  #resume(): void {
    if (this.#isPaused) this.#parts.wire.resume();
    this.#isPaused = false;
  }

  /** Answers a last time and closes. */
  #dismiss(answer: Reply): void {
    if (this.#mode === "closed") return;
    if (answer.code >= 400) {
      tellRefused(this.#parts.emit, this.#dialog, answer, this.#lastVerb);
      this.#end = answer === TIMEOUT ? "timeout" : "disconnected";
    }
    this.#say(answer);
    this.#leave();
  }

  #leave(): void {
    if (this.#mode === "closed") return;
    this.#flush();
    this.#close();
    this.#parts.wire.end();
  }

  #close(): void {
    this.#mode = "closed";
    this.#cancelTimer?.();
    this.#message?.discard();
    this.#message = undefined;
    this.#backlog = [];
  }

  #armTimer(): void {
    const { commandTimeoutMs, dataTimeoutMs } = this.#options;
    const { clock } = this.#parts.world;
    const check = () => {
      const idleMs = clock.now() - this.#lastAt;
      const limitMs = this.#mode === "data" ? dataTimeoutMs : commandTimeoutMs;
      // While the client waits for us it may be as silent as it likes.
      const isWaiting = this.#holds > 0 && !this.#isClogged;
      const leftMs = isWaiting ? limitMs : limitMs - idleMs;
      if (leftMs > 0) this.#cancelTimer = clock.after(Math.min(leftMs, dataTimeoutMs), check);
      else this.#timeOut();
    };
    this.#cancelTimer = clock.after(Math.min(commandTimeoutMs, dataTimeoutMs), check);
  }

  #timeOut(): void {
    this.#end = "timeout";
    if (this.#mode === "handshake") this.#parts.wire.destroy();
    else this.#dismiss(TIMEOUT);
  }

  #tell(what: ClientEvent["what"]): void {
    const { ip, emit } = this.#parts;
    const { listener } = this.#options;
    const detail = what === "lost" ? { detail: `after ${shownVerb(this.#lastVerb)}` } : undefined;
    emit({ kind: "client", what, ip, listener, ...detail });
  }
}
