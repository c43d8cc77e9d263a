import { domainOf } from "../../src/mail/address.ts";
import type { Recipient } from "../../src/mail/envelope.ts";
import { reply } from "../../src/mail/reply.ts";
import type { Delivery, Outcome, Relay } from "../../src/relay/relay.ts";

/** What a script says about one recipient: an outcome's kind, or `down` when nobody was reached. */
export type Said = Outcome["kind"] | "down" | Partial<Outcome>;

/** Decides about one recipient of one delivery. */
export type Script = (recipient: Recipient, delivery: Delivery) => Said;

export interface Call extends Delivery {
  /** Indexes of the recipients it was called for. */
  readonly indexes: readonly number[];
  readonly addresses: readonly string[];
  readonly signal: AbortSignal;
}

/** A relay that does what a script says, and remembers what it was asked. */
export interface ScriptedRelay extends Relay {
  script: Script;
  /** Deliveries for which this is true hang until `release` or an aborted signal. */
  hangs: (delivery: Delivery) => boolean;
  /** Throws for these: a relay with a defect. */
  throws: (delivery: Delivery) => boolean;
  readonly calls: readonly Call[];
  /** How many hang at this moment. */
  readonly hanging: number;
  /** The most that were under way at once. */
  readonly mostAtOnce: number;
  /** Lets everything go that hangs. */
  release(): void;
}

const REMOTE = { host: "mx.test", ip: "192.0.2.25", port: 25, connectionUse: 1 };
const REPLIES = {
  delivered: reply(250, "2.0.0", "Ok"),
  deferred: reply(450, "4.2.0", "Busy"),
  rejected: reply(550, "5.1.1", "No such user"),
} as const;

export function scriptedRelay(script: Script = () => "delivered"): ScriptedRelay {
  const calls: Call[] = [];
  let release = Promise.withResolvers<void>();
  let hanging = 0;
  let underWay = 0;
  let mostAtOnce = 0;

  /** False when the signal came first. */
  async function hang(signal: AbortSignal): Promise<boolean> {
    hanging += 1;
    const aborted = Promise.withResolvers<boolean>();
    const onAbort = (): void => aborted.resolve(false);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort);
    const went = await Promise.race([release.promise.then(() => true), aborted.promise]);
    signal.removeEventListener("abort", onAbort);
    hanging -= 1;
    return went;
  }

  const relay: ScriptedRelay = {
    script,
    hangs: () => false,
    throws: () => false,
    calls,
    get hanging() {
      return hanging;
    },
    get mostAtOnce() {
      return mostAtOnce;
    },
    release() {
      release.resolve();
      release = Promise.withResolvers();
    },
    async deliver(delivery, signal) {
      const { recipients } = delivery.envelope;
      calls.push({
        ...delivery,
        indexes: recipients.map(({ index }) => index),
        addresses: recipients.map(({ address }) => address),
        signal,
      });
      underWay += 1;
      mostAtOnce = Math.max(mostAtOnce, underWay);
      try {
        if (relay.throws(delivery)) throw new Error("defect");
        const went = !relay.hangs(delivery) || (await hang(signal));
        return recipients.map((recipient) =>
          outcomeOf(recipient.index, went ? relay.script(recipient, delivery) : aborted),
        );
      } finally {
        underWay -= 1;
      }
    },
    destinationOf: (domain) => domain,
    stats: () => ({ open: 0, idle: 0 }),
    close: () => Promise.resolve(),
  };
  return relay;
}

const aborted: Partial<Outcome> = {
  kind: "deferred",
  reply: reply(421, "4.4.2", "Broken off"),
};

function outcomeOf(recipient: number, said: Said): Outcome {
  const times = { setupMs: 1, transferMs: 2 };
  if (said === "down") {
    const answer = reply(451, "4.4.1", "Connection refused");
    return { recipient, kind: "deferred", reply: answer, ...times };
  }
  if (typeof said === "string") {
    return { recipient, kind: said, reply: REPLIES[said], remote: REMOTE, ...times };
  }
  const kind = said.kind ?? "delivered";
  return { recipient, kind, reply: REPLIES[kind], ...times, ...said };
}

/** A script by domain; what it does not name is delivered. */
export function byDomain(says: Readonly<Record<string, Said>>): Script {
  return ({ address }) => says[domainOf(address)] ?? "delivered";
}
