import type { Clock } from "../lib/world.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import { type Classified, classify } from "./classify.ts";
import type { Answer, PeerFailure, Place } from "./peer-failure.ts";
import type { Outcome, Remote } from "./relay.ts";
import type { Commands } from "./smtp-commands.ts";
import type { SmtpClient } from "./smtp-session.ts";

/** One message on its way over several hosts, and what became of each recipient so far. */
export class Errand {
  readonly envelope: Envelope;
  /** What its connections are kept for afterwards. */
  readonly destination: string;
  readonly signal: AbortSignal;
  /** By index of the recipient; complete once any host was tried. */
  readonly outcomes = new Map<number, Outcome>();
  /** Who may still be offered to another host. */
  waiting: readonly Recipient[];
  addressesLeft: number;
  /** Some host was spoken to, and so none is to be waited for. */
  hasReached = false;
  readonly #clock: Clock;
  readonly #startedAt: number;
  /** Time spent in transactions, which is no set-up. */
  #transferMs = 0;

  constructor(
    { envelope, destination, signal }: Pick<Errand, "envelope" | "destination" | "signal">,
    recipients: readonly Recipient[],
    clock: Clock,
    addressesMax: number,
  ) {
    this.envelope = envelope;
    this.destination = destination;
    this.waiting = recipients;
    this.signal = signal;
    this.addressesLeft = addressesMax;
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  /** Gives all who wait the same answer, which the next host may better. */
  settleAll(failure: PeerFailure, place?: Place): void {
    const meaning = classify(failure, place);
    const setupMs = this.#clock.now() - this.#startedAt - this.#transferMs;
    const remote =
      place && failure.kind === "reply" ? { remote: { ...place, connectionUse: 1 } } : {};
    for (const recipient of this.waiting) {
      this.#put(recipient, meaning, setupMs, remote);
    }
    if (!meaning.nextHost) this.waiting = [];
  }

  /** Gives an answer to those who have none because there was nobody to ask. */
  settleMissing(failure: PeerFailure): void {
    this.waiting = this.waiting.filter(({ index }) => !this.outcomes.has(index));
    this.settleAll(failure);
  }

  /** Takes the answers of one transaction that began at `beganAt`. */
  settle(
    client: SmtpClient,
    commands: Commands,
    answers: readonly Answer[],
    beganAt: number,
  ): void {
    const { target, tls, uses, announced } = client;
    const place = { host: target.host, ip: target.ip, port: target.port };
    const secured = tls === undefined ? {} : { tls, tlsVerified: target.tls === "verify" };
    const remote: Remote = { ...place, connectionUse: Math.max(1, uses), ...secured };
    const setupMs = beganAt - this.#startedAt - this.#transferMs;
    this.#transferMs += this.#clock.now() - beganAt;
    this.hasReached = true;
    this.waiting = [];
    const again: Recipient[] = [];
    const settleOne = (recipient: Recipient, answer: Answer) => {
      const meaning = classify(answer, place);
      const taken = meaning.kind === "delivered" ? { dsnRelayed: announced.dsn } : {};
      this.#put(recipient, meaning, setupMs, { remote, ...taken });
      if (meaning.nextHost) again.push(recipient);
    };
    for (const { recipient, failure } of commands.refused) settleOne(recipient, failure);
    commands.recipients.forEach((recipient, index) => {
      settleOne(recipient, answers[index] ?? { kind: "lost", phase: "mail" });
    });
    this.waiting = again;
  }

  #put(
    { index }: Recipient,
    { kind, reply, command }: Classified,
    setupMs: number,
    more: Partial<Outcome>,
  ): void {
    const answered = command === undefined ? {} : { command };
    const transferMs = this.#transferMs;
    this.outcomes.set(index, {
      recipient: index,
      kind,
      reply,
      ...answered,
      ...more,
      setupMs,
      transferMs,
    });
  }
}
