import type { ConnectionOptions, TLSSocket } from "node:tls";
import SMTPConnection from "nodemailer/lib/smtp-connection";
import type { Clock } from "../lib/world.ts";
import type { Content } from "../mail/content.ts";
import { type Deadline, deadline } from "./deadline.ts";
import type { Answer, PeerFailure, Phase, SessionFailure } from "./peer-failure.ts";
import { type Announced, NOTHING_ANNOUNCED, parseAnnounced } from "./smtp-commands.ts";
import { codeOf, isTlsError, tlsFailure, withoutSecrets } from "./smtp-errors.ts";
import { Exchange } from "./smtp-exchange.ts";
import { ReplyReader, replyCode } from "./smtp-replies.ts";
import type { Connected, SmtpClient, SmtpClientOptions, Target } from "./smtp-session.ts";
import { type TransactionPlan, toReply } from "./smtp-transaction.ts";

/** The parts of nodemailer's connection that it does not show in its types and that are built upon here. */
interface Internals {
  _responseActions: ((this: unknown, reply: string) => void)[];
  _onConnect(): void;
  _onData(chunk: Buffer): void;
  _onError(error: unknown, type?: string, reply?: string | false, command?: string): void;
  _destroy(): void;
  _sendCommand(command: string, logged?: string): void;
  _upgradeConnection(done: (error?: unknown) => void): void;
  _actionEHLO(reply: string): void;
  _actionHELO(reply: string): void;
  _actionSTARTTLS(reply: string): void;
}

const Base = SMTPConnection as unknown as new (
  options: SMTPConnection.Options,
) => SMTPConnection & Internals;

/** Replies a peer may give before the session stands; a dialogue of more than this leads nowhere. */
const SETUP_REPLIES_MAX = 20;

/** nodemailer's own limits are out of the way: those of the options apply, phase by phase. */
const NO_LIMIT_MS = 2 ** 31 - 1;

const PHASE_OF_COMMAND: Record<string, Phase> = {
  EHLO: "ehlo",
  HELO: "ehlo",
  STARTTLS: "starttls",
  AUTH: "auth",
};

/**
 * Opens a session: connects, reads the greeting, says EHLO (HELO to a peer that refuses EHLO), encrypts and
 * authenticates as `target` asks. Never rejects. When the TLS handshake fails the session is over, also in opportunistic
 * mode: the caller decides about another one in clear text.
 */
export function connectSmtp(
  target: Target,
  options: SmtpClientOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<Connected> {
  return new Promise((resolve) => {
    const session = new Session(target, options, clock, (connected) => {
      signal.removeEventListener("abort", abort);
      resolve(connected);
    });
    const abort = () => session.abort();
    signal.addEventListener("abort", abort);
    session.open(signal.aborted);
  });
}

/** The settings of nodemailer's connection that lead to `target`. */
function connectionOptions(target: Target, options: SmtpClientOptions): SMTPConnection.Options {
  const tls: ConnectionOptions = {
    rejectUnauthorized: target.tls === "verify",
    minVersion: options.tlsVersionMin,
    ...(options.tlsAuthorities === undefined ? {} : { ca: options.tlsAuthorities }),
  };
  return {
    host: target.ip,
    // An address is no server name (RFC 6066 §3).
    ...(target.host === target.ip ? {} : { servername: target.host }),
    port: target.port,
    secure: target.implicitTls,
    opportunisticTLS: target.tls === "opportunistic",
    name: options.ownName,
    tls,
    connectionTimeout: NO_LIMIT_MS,
    greetingTimeout: NO_LIMIT_MS,
    socketTimeout: NO_LIMIT_MS,
    // A session is closed after QUIT was answered, or because it is of no more use.
    socketCloseTimeout: 0,
    logger: false,
  };
}

class Session extends Base implements SmtpClient {
  readonly target: Target;
  announced: Announced = NOTHING_ANNOUNCED;
  readonly openedAt: number;
  failure: SessionFailure | undefined;
  readonly #settings: SmtpClientOptions;
  readonly #limit: Deadline;
  readonly #replies = new ReplyReader();
  #opened: ((connected: Connected) => void) | undefined;
  #phase: Phase = "connect";
  #setupReplies = 0;
  readonly #exchange: Exchange;
  #closed: (() => void) | undefined;

  constructor(
    target: Target,
    options: SmtpClientOptions,
    clock: Clock,
    opened: (connected: Connected) => void,
  ) {
    super(connectionOptions(target, options));
    this.target = target;
    this.#settings = options;
    this.openedAt = clock.now();
    this.#opened = opened;
    this.#limit = deadline(clock, () => this.#end({ kind: "timeout", phase: this.#phaseNow() }));
    this.#exchange = new Exchange({
      socket: () => this._socket || undefined,
      limit: this.#limit,
      timeouts: options.timeouts,
      hasUnread: () => !this.#replies.isEmpty,
      lose: (why = { kind: "lost", phase: "mail" }) => this.#end(why),
    });
    this.once("connect", () => this.#authenticate());
  }

  get tls(): string | undefined {
    if (!this.secure) return undefined;
    const socket = this._socket as TLSSocket;
    return `${socket.getProtocol() ?? "TLS"} ${socket.getCipher()?.name ?? ""}`.trim();
  }

  get usable(): boolean {
    return !this.failure && this.#exchange.idle;
  }

  get uses(): number {
    return this.#exchange.uses;
  }

  open(isAborted: boolean): void {
    if (isAborted) {
      this.abort();
      return;
    }
    this.#limit.set(this.#settings.timeouts.connectMs);
    this.connect();
  }

  transact(
    plan: Omit<TransactionPlan, "pipelining">,
    content: Content,
  ): Promise<readonly Answer[]> {
    return this.#exchange.transact(
      { ...plan, pipelining: this.announced.pipelining },
      content,
      this.failure,
    );
  }

  async renew(): Promise<boolean> {
    await this.#exchange.renew();
    return this.usable;
  }

  async goodbye(): Promise<void> {
    if (!this.failure) await this.#exchange.goodbye();
  }

  abort(): void {
    this.#end({ kind: "aborted", phase: this.#phaseNow() });
  }

  onClosed(run: () => void): void {
    this.#closed = run;
  }

  #phaseNow(): Phase {
    return this.#opened ? this.#phase : this.#exchange.phase;
  }

  #authenticate(): void {
    const { credentials } = this.target;
    if (!credentials) {
      this.#ready();
      return;
    }
    const method = ["PLAIN", "LOGIN"].find((name) => this.announced.auth.includes(name));
    if (!(this.secure || this.#settings.allowClearTextAuth)) {
      this.#end({ kind: "auth", reason: "clear-text" });
      return;
    }
    if (method === undefined) {
      this.#end({ kind: "auth", reason: "not-offered" });
      return;
    }
    const { user, password } = credentials;
    this.login({ user, pass: password, method }, (error) => {
      if (!error) {
        this.#ready();
        return;
      }
      const said = error.response;
      if (typeof said !== "string") {
        this.#end({ kind: "lost", phase: "auth" });
        return;
      }
      this.#refuse("auth", withoutSecrets(said, credentials));
    });
  }

  #ready(): void {
    this.#limit.clear();
    const opened = this.#opened;
    this.#opened = undefined;
    opened?.({ kind: "connected", client: this });
  }

  #refuse(phase: Phase, said: string): void {
    const code = replyCode(said);
    if (code < 400) {
      this.#end({ kind: "garbled", phase, detail: `unexpected reply ${code}` });
      return;
    }
    this.#end({ kind: "lost", phase }, { kind: "reply", phase, reply: toReply(code, said) });
  }

  /** Ends the session and tells everybody who waits; only the first reason counts. */
  #end(failure: SessionFailure, told: PeerFailure = failure): void {
    if (this.failure) return;
    this.failure = failure;
    this.#limit.close();
    this.close();
    this.#opened?.({ kind: "failed", failure: told });
    this.#opened = undefined;
    this.#exchange.fail(failure);
    this.#closed?.();
  }

  override _onConnect(): void {
    this.#phase = "greeting";
    this.#limit.set(this.#settings.timeouts.greetingMs);
    super._onConnect();
    const socket = this._socket;
    if (socket) socket.setTimeout(0);
  }

  override _sendCommand(command: string, logged?: string): void {
    const phase = PHASE_OF_COMMAND[command.split(" ", 1)[0] ?? ""];
    if (phase) {
      this.#phase = phase;
      this.#limit.set(this.#settings.timeouts.commandMs);
    }
    super._sendCommand(command, logged);
  }

  /** RFC 3207 §6: what came in clear text is forgotten. */
  override _upgradeConnection(done: (error?: unknown) => void): void {
    this.#replies.clear();
    this.announced = NOTHING_ANNOUNCED;
    super._upgradeConnection(done);
  }

  override _actionEHLO(reply: string): void {
    const code = replyCode(reply);
    const wantsTls = this.target.tls !== "none" && !this.secure;
    const mustTls = wantsTls && this.target.tls !== "opportunistic";
    if (code >= 200 && code < 300) {
      this.announced = parseAnnounced(reply);
      if (wantsTls && this.announced.startTls) {
        this._responseActions.push(this._actionSTARTTLS);
        this._sendCommand("STARTTLS");
        return;
      }
      if (mustTls) {
        this.#end({ kind: "tls", reason: "not-offered", detail: "" });
        return;
      }
      this.emit("connect");
      return;
    }
    if (code < 500) {
      this.#refuse("ehlo", reply);
      return;
    }
    if (mustTls) {
      this.#end({ kind: "tls", reason: "not-offered", detail: "" });
      return;
    }
    this._responseActions.push(this._actionHELO);
    this._sendCommand(`HELO ${this.#settings.ownName}`);
  }

  /** Takes replies one by one; the state may change, and the session end, with each of them. */
  override _onData(chunk: Buffer): void {
    this.#replies.push(chunk.toString("latin1"));
    while (!this.failure) {
      const reply = this.#replies.next();
      if (reply === undefined) return;
      if (typeof reply === "string") this.#onReply(reply);
      else this.#end({ kind: "garbled", phase: this.#phaseNow(), detail: reply.garbled });
    }
  }

  #onReply(reply: string): void {
    if (this.#exchange.reply(reply)) return;
    const action = this._responseActions.shift();
    this.#setupReplies += 1;
    // Nobody asked: usually 421 from a peer that is tired of waiting.
    if (!action) {
      this.#end({ kind: "lost", phase: "mail" });
      return;
    }
    if (this.#setupReplies > SETUP_REPLIES_MAX) {
      this.#end({ kind: "garbled", phase: this.#phase, detail: "endless dialogue" });
      return;
    }
    action.call(this, reply);
  }

  /** Every trouble that nodemailer or the socket finds ends up here. */
  override _onError(error: unknown, type?: string, reply?: string | false): void {
    const phase = this.#phaseNow();
    if (reply && replyCode(reply) >= 400) {
      this.#refuse(phase, reply);
      return;
    }
    if (type === "ETLS" || isTlsError(error) || this.upgrading) {
      this.#end(tlsFailure(error));
      return;
    }
    if (phase === "connect") {
      this.#end({ kind: "connect", code: codeOf(error) });
      return;
    }
    if (type === "EPROTOCOL") {
      this.#end({ kind: "garbled", phase, detail: `unexpected reply ${reply || ""}` });
      return;
    }
    this.#end({ kind: "lost", phase });
  }

  override _destroy(): void {
    super._destroy();
    this.#end({ kind: "lost", phase: this.#phaseNow() });
  }
}
