import { domainOf } from "../../src/mail/address.ts";
import { contentSize, readContent } from "../../src/mail/content.ts";
import type { Recipient } from "../../src/mail/envelope.ts";
import { reply } from "../../src/mail/reply.ts";
import type { Delivery, Outcome, Relay } from "../../src/relay/relay.ts";
import type { SimWorld } from "../support/sim-world.ts";
import type { PeerIs } from "./history.ts";
import type { Ledger } from "./ledger.ts";
import type { Life } from "./life.ts";
import { isIntact } from "./mail.ts";
import { rollFor } from "./roll.ts";

interface Peer {
  is: PeerIs;
  ms: number;
  since: number;
  /** Goes on with whatever hangs. */
  readonly waiting: Set<() => void>;
  underWay: number;
}

export interface PeersParts {
  readonly world: SimWorld;
  readonly ledger: Ledger;
  readonly seed: number;
  /** What one delivery takes while all is well. */
  readonly peerMs: number;
  readonly trace: (line: string) => void;
}

const REMOTE = { host: "mx.test", ip: "192.0.2.25", port: 25, connectionUse: 1 };
const SAYS = {
  delivered: reply(250, "2.0.0", "Ok"),
  deferred: reply(450, "4.2.0", "Busy"),
  rejected: reply(550, "5.1.1", "No such user"),
};
const CONTENT_MAX = 10_000_000;

/** All next hops of the world, and the relays that lead to them. */
export class Peers {
  readonly #parts: PeersParts;
  readonly #peers = new Map<string, Peer>();
  readonly #calls = new Map<
    object,
    { readonly life: Life; readonly id: string; readonly domain: string }
  >();
  mostUnderWay = 0;
  mostForOne = 0;

  constructor(parts: PeersParts) {
    this.#parts = parts;
  }

  get underWay(): number {
    return this.#calls.size;
  }

  /** From now on a peer is so; what hangs there goes on with it. */
  set(domain: string, is: PeerIs, ms: number): void {
    const peer = this.#peer(domain);
    Object.assign(peer, { is, ms, since: this.#parts.world.clock.now() });
    for (const goOn of [...peer.waiting]) goOn();
  }

  heal(): void {
    for (const domain of this.#peers.keys()) this.set(domain, "up", 0);
  }

  /** Since when mail for a domain has nothing to wait for; `undefined` while it has. */
  wellSince(domain: string): number | undefined {
    const { is, since } = this.#peer(domain);
    return is === "up" || is === "refusing" || is === "busy" ? since : undefined;
  }

  underWayFor(domain: string): number {
    return this.#peer(domain).underWay;
  }

  /** A process has ended: its connections are gone. Half of what it was sending arrived whole. */
  died(life: Life): void {
    for (const [key, call] of [...this.#calls]) {
      if (call.life === life) this.#ended(key);
    }
  }

  relayFor(life: Life): Relay {
    return {
      deliver: (delivery, signal) => life.heard(this.#deliver(delivery, signal, life)),
      destinationOf: (domain) => domain,
      stats: () => ({ open: 0, idle: 0 }),
      close: () => Promise.resolve(),
    };
  }

  async #deliver(delivery: Delivery, signal: AbortSignal, life: Life): Promise<readonly Outcome[]> {
    const { ledger, trace } = this.#parts;
    const { id, envelope, attempts } = delivery;
    const { recipients } = envelope;
    const domain = domainOf(recipients[0]?.address ?? "");
    trace(`deliver ${id} ${attempts} ${recipients.map(({ address }) => address).join()}`);
    ledger.attempted(
      id,
      attempts,
      recipients.map(({ index }) => index),
    );
    const key = {};
    const peer = this.#peer(domain);
    this.#calls.set(key, { life, id, domain });
    peer.underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.#calls.size);
    this.mostForOne = Math.max(this.mostForOne, peer.underWay);
    try {
      return await this.#converse(delivery, peer, signal, life);
    } finally {
      if (!life.isDead) this.#ended(key);
    }
  }

  async #converse(
    delivery: Delivery,
    peer: Peer,
    signal: AbortSignal,
    life: Life,
  ): Promise<readonly Outcome[]> {
    const { peerMs } = this.#parts;
    const { envelope } = delivery;
    if (peer.is === "throws") throw new Error("a relay with a defect");
    if (peer.is === "down")
      return envelope.recipients.map(({ index }) => nobody(index, "Connection refused"));
    if (peer.is === "hung") await this.#wait(peer, undefined, [signal, life.signal]);
    const ms = peer.is === "slow" ? peer.ms : peerMs;
    if (ms > 0 && !signal.aborted) await this.#wait(peer, ms, [signal, life.signal]);
    const broken = envelope.recipients.map(({ index }) => brokenOff(index));
    if (signal.aborted || peer.is === "drops") return broken;
    const isReadable = await this.#read(delivery);
    if (!isReadable) return broken;
    const outcomes = envelope.recipients.map((recipient) =>
      this.#answer(recipient, delivery, peer),
    );
    const isHeard = !life.isDead && !life.isPaused && peer.is !== "lost";
    // Of a process that has ended, half of what it was sending arrived whole.
    const isCutShort =
      peer.is === "hung" || rollFor(this.#parts.seed, "arrived", delivery.id) < 0.5;
    if (life.isDead && isCutShort) return broken;
    for (const { kind, recipient } of outcomes) {
      if (kind === "delivered") this.#parts.ledger.took(delivery.id, recipient, isHeard);
    }
    return peer.is === "lost" ? broken : outcomes;
  }

  /** Whether all of it came: what is torn must never look whole. */
  async #read({ id, envelope }: Delivery): Promise<boolean> {
    try {
      const bytes = await readContent(envelope.content, CONTENT_MAX);
      const isWhole = bytes.length === contentSize(envelope.content) && isIntact(envelope, bytes);
      if (!isWhole) this.#parts.ledger.blame(`P1: the content of ${id} is not what was sent`);
      return true;
    } catch {
      // The disk, or the end of the process: to the peer the connection drops.
      return false;
    }
  }

  #answer({ address, index }: Recipient, { id, attempts }: Delivery, peer: Peer): Outcome {
    const kind = this.#kind(address, id, attempts, peer);
    return {
      recipient: index,
      kind,
      reply: SAYS[kind],
      remote: REMOTE,
      setupMs: 1,
      transferMs: 2,
      dsnRelayed: attempts % 2 === 1,
    };
  }

  #kind(address: string, id: string, attempts: number, peer: Peer): Outcome["kind"] {
    if (peer.is === "busy") return "deferred";
    if (peer.is === "refusing") return "rejected";
    const fate = /^r\d+\.\d+\.(\w+)@/u.exec(address)?.[1];
    if (fate === "bad") return "rejected";
    if (fate === "busy") return "deferred";
    if (fate === "twice") return attempts < 2 ? "deferred" : "delivered";
    if (fate !== "dice") return "delivered";
    const roll = rollFor(this.#parts.seed, address, id, attempts);
    if (roll < 0.4) return "delivered";
    return roll < 0.9 ? "deferred" : "rejected";
  }

  /** Until `ms` have passed, the peer changes, or a signal says stop. */
  async #wait(peer: Peer, ms: number | undefined, signals: readonly AbortSignal[]): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => resolve();
    const cancel = ms === undefined ? undefined : this.#parts.world.clock.after(ms, done);
    if (signals.some(({ aborted }) => aborted)) done();
    for (const signal of signals) signal.addEventListener("abort", done);
    if (ms === undefined) peer.waiting.add(done);
    await promise;
    cancel?.();
    peer.waiting.delete(done);
    for (const signal of signals) signal.removeEventListener("abort", done);
  }

  #ended(key: object): void {
    const call = this.#calls.get(key);
    if (call === undefined) return;
    this.#calls.delete(key);
    this.#peer(call.domain).underWay -= 1;
    this.#parts.ledger.attemptEnded(call.id);
  }

  #peer(domain: string): Peer {
    const known = this.#peers.get(domain);
    if (known !== undefined) return known;
    const peer: Peer = { is: "up", ms: 0, since: 0, waiting: new Set(), underWay: 0 };
    this.#peers.set(domain, peer);
    return peer;
  }
}

function nobody(recipient: number, why: string): Outcome {
  return {
    recipient,
    kind: "deferred",
    reply: reply(451, "4.4.1", why),
    setupMs: 1,
    transferMs: 0,
  };
}

function brokenOff(recipient: number): Outcome {
  return {
    recipient,
    kind: "deferred",
    reply: reply(421, "4.4.2", "lost connection"),
    remote: REMOTE,
    setupMs: 1,
    transferMs: 2,
  };
}
