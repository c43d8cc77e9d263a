import { parseReply, type Reply } from "../mail/reply.ts";
import type { Answer, PeerFailure, Phase } from "./peer-failure.ts";
import { replyText } from "./smtp-replies.ts";

/** One message for some recipients, as commands. */
export interface TransactionPlan {
  readonly mail: string;
  readonly rcpts: readonly string[];
  /** RFC 2920: everything up to DATA goes out at once. */
  readonly pipelining: boolean;
}

/** What a transaction needs of its connection. */
export interface Wire {
  /** Sends commands. */
  send(commands: string): void;
  /** Sends the content and the end of data, then calls `contentSent` of the transaction. */
  sendContent(): void;
  /** Tells what is waited for, which starts its time. */
  await(phase: Phase): void;
}

/** How a transaction ended. */
export interface TransactionEnd {
  /** One answer for every recipient, in the order of the plan. */
  readonly answers: readonly Answer[];
  /** How the session stands: nothing open, a transaction to RSET, or no longer to be trusted. */
  readonly session: "clean" | "dirty" | "unusable";
}

/**
 * The dialogue of one message (RFC 5321 §3.3): MAIL, each RCPT, DATA, content, end of data. It takes replies in the
 * order of the commands, pipelined or not, and calls `done` exactly once.
 *
 * Stages: mail -> rcpt -> data -> content -> end-of-data; `drain` waits for the reply to an empty message.
 */
export class Transaction {
  readonly #plan: TransactionPlan;
  readonly #wire: Wire;
  readonly #done: (end: TransactionEnd) => void;
  readonly #answers: (Answer | undefined)[];
  #stage: Exclude<Phase, "connect" | "greeting" | "ehlo" | "starttls" | "auth"> | "drain" | "done" =
    "mail";
  #mailFailure: PeerFailure | undefined;
  #replied = 0;
  #accepted = 0;

  constructor(plan: TransactionPlan, wire: Wire, done: (end: TransactionEnd) => void) {
    this.#plan = plan;
    this.#wire = wire;
    this.#done = done;
    this.#answers = new Array(plan.rcpts.length).fill(undefined);
  }

  start(): void {
    const { mail, rcpts, pipelining } = this.#plan;
    this.#wire.await("mail");
    this.#wire.send(pipelining ? `${mail}${rcpts.join("")}DATA\r\n` : mail);
  }

  /** Takes one whole reply of the peer. */
  reply(code: number, octets: string): void {
    if (code === 421) {
      this.#closing(code, octets);
      return;
    }
    // Only DATA is answered like that; whoever says it elsewhere is at another place of the dialogue than we are.
    if (code < 400 && !isPositive(code) && this.#stage !== "data") {
      this.fail(refusal(this.phase, code, octets));
      return;
    }
    switch (this.#stage) {
      case "mail":
        this.#onMail(code, octets);
        return;
      case "rcpt":
        this.#onRcpt(code, octets);
        return;
      case "data":
        this.#onData(code, octets);
        return;
      case "content":
        this.#onEarly(code, octets);
        return;
      case "end-of-data":
        this.#onEnd(code, octets);
        return;
      case "drain":
        this.#finish("clean");
        return;
      default:
        return;
    }
  }

  /** The connection ended or cannot be trusted any more: whoever has no answer gets this one. */
  fail(failure: PeerFailure): void {
    this.#settleRest(this.#mailFailure ?? failure);
    this.#finish("unusable");
  }

  /** Where the dialogue is, as a phase that failures can name. */
  get phase(): Phase {
    if (this.#stage === "drain" || this.#stage === "done") return "data";
    return this.#stage;
  }

  /** Everything was handed to the network. */
  contentSent(): void {
    if (this.#stage !== "content") return;
    this.#stage = "end-of-data";
    this.#wire.await("end-of-data");
  }

  #onMail(code: number, octets: string): void {
    if (!isPositive(code)) {
      this.#mailFailure = refusal("mail", code, octets);
      if (!this.#plan.pipelining) {
        this.#settleRest(this.#mailFailure);
        this.#finish("dirty");
        return;
      }
    }
    this.#stage = "rcpt";
    this.#wire.await("rcpt");
    if (!this.#plan.pipelining) this.#wire.send(this.#plan.rcpts[0] ?? "");
  }

  #onRcpt(code: number, octets: string): void {
    if (isPositive(code)) this.#accepted += 1;
    else this.#answers[this.#replied] = this.#mailFailure ?? refusal("rcpt", code, octets);
    this.#replied += 1;
    const { rcpts, pipelining } = this.#plan;
    if (this.#replied < rcpts.length) {
      this.#wire.await("rcpt");
      if (!pipelining) this.#wire.send(rcpts[this.#replied] ?? "");
      return;
    }
    if (this.#accepted === 0 && !pipelining) {
      this.#finish("dirty");
      return;
    }
    this.#stage = "data";
    this.#wire.await("data");
    if (!pipelining) this.#wire.send("DATA\r\n");
  }

  #onData(code: number, octets: string): void {
    const goesAhead = code >= 300 && code < 400;
    if (this.#mailFailure) {
      this.#settleRest(this.#mailFailure);
      // Whoever refuses the sender and then asks for the message has lost track.
      this.#finish(goesAhead ? "unusable" : "dirty");
      return;
    }
    if (goesAhead) {
      this.#goAhead();
      return;
    }
    if (this.#accepted > 0) this.#settleRest(refusal("data", code, octets));
    this.#finish(isPositive(code) ? "unusable" : "dirty");
  }

  #goAhead(): void {
    if (this.#accepted === 0) {
      this.#drain();
      return;
    }
    this.#stage = "content";
    this.#wire.await("content");
    this.#wire.sendContent();
  }

  /** RFC 2920 §3.1: a peer that asks for a message nobody may receive gets an empty one. */
  #drain(): void {
    this.#stage = "drain";
    this.#wire.await("data");
    this.#wire.send(".\r\n");
  }

  /** An answer while the content is still on its way: a refusal counts, anything else is no SMTP. */
  #onEarly(code: number, octets: string): void {
    this.#settleRest(refusal("content", code, octets));
    this.#finish("unusable");
  }

  #onEnd(code: number, octets: string): void {
    const answer: Answer = isPositive(code)
      ? { kind: "taken", reply: toReply(code, octets) }
      : refusal("end-of-data", code, octets);
    this.#settleRest(answer);
    this.#finish(answer.kind === "garbled" ? "unusable" : "clean");
  }

  /** RFC 5321 §3.8: 421 ends the session at any point, and says nothing about the mail. */
  #closing(code: number, octets: string): void {
    this.fail({ kind: "reply", phase: this.phase, reply: toReply(code, octets) });
  }

  #settleRest(answer: Answer): void {
    for (let index = 0; index < this.#answers.length; index += 1) this.#answers[index] ??= answer;
  }

  #finish(session: TransactionEnd["session"]): void {
    if (this.#stage === "done") return;
    this.#stage = "done";
    this.#done({ answers: this.#answers.filter((answer) => answer !== undefined), session });
  }
}

function isPositive(code: number): boolean {
  return code >= 200 && code < 300;
}

/** A reply that is neither what was asked for nor a refusal belongs to another dialogue than ours. */
function refusal(phase: Phase, code: number, octets: string): PeerFailure {
  return code >= 400
    ? { kind: "reply", phase, reply: toReply(code, octets) }
    : { kind: "garbled", phase, detail: `unexpected reply ${code}` };
}

/** A peer's reply as text for people. */
export function toReply(code: number, octets: string): Reply {
  return parseReply(code, replyText(octets));
}
