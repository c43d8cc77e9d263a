import type { Socket } from "node:net";
import type { Content } from "../mail/content.ts";
import type { Deadline } from "./deadline.ts";
import type { Answer, Phase, SessionFailure } from "./peer-failure.ts";
import { drained, sendPieces, wholePiece } from "./smtp-content.ts";
import { replyCode } from "./smtp-replies.ts";
import type { SmtpTimeouts } from "./smtp-session.ts";
import {
  Transaction,
  type TransactionEnd,
  type TransactionPlan,
  type Wire,
} from "./smtp-transaction.ts";

/** What an exchange needs of the session it goes over. */
export interface Line {
  /** Where bytes go; it changes when the session gets encrypted. */
  socket(): Socket | undefined;
  readonly limit: Deadline;
  readonly timeouts: SmtpTimeouts;
  /** Something came that is not taken as a reply yet. */
  hasUnread(): boolean;
  /** The session is of no more use. */
  lose(why?: SessionFailure): void;
}

/** What goes over an open session: one message after the other, RSET and QUIT; one thing at a time. */
export class Exchange {
  /** Transactions begun. */
  uses = 0;
  readonly #line: Line;
  readonly #wire: Wire;
  #transaction: Transaction | undefined;
  #content: Content | undefined;
  /** Who waits for the reply to RSET or QUIT. */
  #waiting: ((code: number) => void) | undefined;
  /** The peer may still hold parts of a transaction. */
  #isDirty = false;

  constructor(line: Line) {
    this.#line = line;
    this.#wire = {
      send: (commands) => this.#inStep(() => line.socket()?.write(commands)),
      sendContent: () => this.#inStep(() => this.#sendContent()),
      await: (phase) => line.limit.set(timeoutOf(phase, line.timeouts)),
    };
  }

  /** Nothing goes on and the next transaction may begin. */
  get idle(): boolean {
    return !(this.#transaction || this.#waiting || this.#isDirty);
  }

  /** What is waited for. */
  get phase(): Phase {
    return this.#transaction?.phase ?? "mail";
  }

  /** Sends one message. With `failure` the session is over and every recipient gets that as the answer. */
  transact(
    plan: TransactionPlan,
    content: Content,
    failure: SessionFailure | undefined,
  ): Promise<readonly Answer[]> {
    return new Promise((resolve) => {
      this.uses += 1;
      this.#content = content;
      const done = (end: TransactionEnd) => {
        this.#afterTransaction(end);
        resolve(end.answers);
      };
      const transaction = new Transaction(plan, this.#wire, done);
      this.#transaction = transaction;
      if (failure) transaction.fail(failure);
      else transaction.start();
    });
  }

  /** Makes the peer forget an open transaction; a session that cannot is lost. */
  async renew(): Promise<void> {
    if (!this.#isDirty) return;
    const code = await this.#ask("RSET", this.#line.timeouts.commandMs);
    if (code < 200 || code > 299) this.#line.lose();
    this.#isDirty = false;
  }

  async goodbye(): Promise<void> {
    await this.#ask("QUIT", this.#line.timeouts.quitMs);
    this.#line.lose();
  }

  /** Takes a reply; false when nobody here waits for one. */
  reply(reply: string): boolean {
    if (this.#transaction) {
      this.#transaction.reply(replyCode(reply), reply);
      return true;
    }
    const waiting = this.#waiting;
    if (!waiting) return false;
    this.#waiting = undefined;
    this.#line.limit.clear();
    waiting(replyCode(reply));
    return true;
  }

  /** The session is over: tells whoever waits. */
  fail(failure: SessionFailure): void {
    this.#transaction?.fail(failure);
    this.#waiting?.(0);
    this.#waiting = undefined;
  }

  /** Sends a command; 0 when the session ended instead of an answer. */
  #ask(command: string, timeoutMs: number): Promise<number> {
    return new Promise((resolve) => {
      if (this.#transaction || this.#waiting) {
        resolve(0);
        return;
      }
      this.#waiting = resolve;
      this.#line.limit.set(timeoutMs);
      this.#wire.send(`${command}\r\n`);
    });
  }

  /**
   * Nothing is sent before all replies to what was sent earlier are there. So whatever came beyond them answers what was
   * not said yet, as a 250 behind the 354, and would be taken for the reply to it.
   */
  #inStep(send: () => void): void {
    if (!this.#line.hasUnread()) {
      send();
      return;
    }
    const { phase } = this;
    if (phase === "mail") this.#line.lose();
    else this.#line.lose({ kind: "garbled", phase, detail: "a reply to nothing" });
  }

  #sendContent(): void {
    const content = this.#content;
    const transaction = this.#transaction;
    const socket = this.#line.socket();
    if (!(content && transaction && socket)) return;
    const whole = wholePiece(content);
    if (whole && socket.write(whole)) transaction.contentSent();
    else void this.#sendPieces(whole ? undefined : content, transaction, socket);
  }

  /** Sends as fast as the peer takes it; each piece may take the time of a data block. */
  async #sendPieces(
    content: Content | undefined,
    transaction: Transaction,
    socket: Socket,
  ): Promise<void> {
    const isOver = () => this.#transaction !== transaction;
    try {
      if (content) await sendPieces(content, socket, isOver, () => this.#wire.await("content"));
      else await drained(socket);
    } catch {
      // The peer has half a message and no way to be told so but to hang up.
      if (!isOver()) transaction.fail({ kind: "unreadable" });
      return;
    }
    if (!isOver()) transaction.contentSent();
  }

  #afterTransaction({ session }: TransactionEnd): void {
    this.#transaction = undefined;
    this.#content = undefined;
    this.#isDirty = session === "dirty";
    if (session === "unusable") this.#line.lose();
    else this.#line.limit.clear();
  }
}

function timeoutOf(phase: Phase, timeouts: SmtpTimeouts): number {
  switch (phase) {
    case "data":
      return timeouts.dataMs;
    case "content":
      return timeouts.dataBlockMs;
    case "end-of-data":
      return timeouts.dataEndMs;
    default:
      return timeouts.commandMs;
  }
}
