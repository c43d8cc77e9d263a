import { until } from "../../tests/support/until.ts";
import type { Measures } from "./compared.ts";
import { messageOf, openClient } from "./load.ts";
import { quantile } from "./statistics.ts";

/** A load that leaves the server time: what is measured is how long mail takes, not how much of it fits. */
export interface PacedLoad {
  readonly port: number;
  readonly messages: number;
  readonly sessions: number;
  readonly bytes: number;
  /** From the start of one message to the start of the next, all sessions together. */
  readonly everyMs: number;
  /** Where the next hop notes what it takes. */
  readonly arrivals: Arrivals;
}

/** What a next hop took, and when. */
export interface Arrivals {
  /** For the host's `onTaken`. */
  note(recipients: readonly string[]): void;
  /** The instant at which each message was taken over, by its number. */
  readonly at: Map<number, number>;
}

export const DOT_P50_TIMES = "p50 to 250, times";
export const DOT_P99_TIMES = "p99 to 250, times";
export const HOP_P50_TIMES = "p50 to next hop, times";
export const HOP_P99_TIMES = "p99 to next hop, times";

/** Milliseconds from the final dot of each message, in no particular order. */
export interface Latencies {
  /** To the 250. */
  readonly accepted: readonly number[];
  /** Until the next hop had it. */
  readonly relayed: readonly number[];
}

/** What all cases that measure latency at leisure send: a fraction of what fits. */
export const PACE = { sessions: 4, bytes: 10 * 1024, everyMs: 5 } as const;

/** Latency is measured at leisure: this part of the messages of a run is enough. */
export const PACED_PART = 10;

const WAIT_MS = 60_000;
const DOMAIN = "timed.test";

/** Makes an empty list. */
export function arrivals(): Arrivals {
  const at = new Map<number, number>();
  return {
    at,
    note: ([recipient = ""]) => void at.set(Number.parseInt(recipient, 10), performance.now()),
  };
}

/** Over the messages of several rounds: one slow moment of the machine does not make a p99. */
function pooled(rounds: readonly Latencies[], kind: keyof Latencies, share: number): number {
  return quantile(
    rounds.flatMap((latencies) => latencies[kind]),
    share,
  );
}

/** How much longer mail takes beside something than alone, and how long it takes alone. */
export function timesLonger(alone: readonly Latencies[], beside: readonly Latencies[]): Measures {
  const times = (kind: keyof Latencies, share: number) =>
    pooled(beside, kind, share) / pooled(alone, kind, share);
  return {
    "p99 to 250 alone, ms": pooled(alone, "accepted", 0.99),
    "p99 to next hop alone, ms": pooled(alone, "relayed", 0.99),
    [DOT_P50_TIMES]: times("accepted", 0.5),
    [DOT_P99_TIMES]: times("accepted", 0.99),
    [HOP_P50_TIMES]: times("relayed", 0.5),
    [HOP_P99_TIMES]: times("relayed", 0.99),
  };
}

/** One round in words. */
export function latencyText({ accepted, relayed }: Latencies): string {
  const at = (values: readonly number[], share: number) => quantile(values, share).toFixed(1);
  return `to 250 p50 ${at(accepted, 0.5)} p99 ${at(accepted, 0.99)} ms, to next hop p50 ${at(relayed, 0.5)} p99 ${at(relayed, 0.99)} ms`;
}

/** Sends each message at its time, to the host `timed`, and waits until all have arrived there. */
export async function pacedLatencies(load: PacedLoad): Promise<Latencies> {
  const { port, messages, sessions, everyMs } = load;
  const message = messageOf(load.bytes);
  const dots = new Map<number, number>();
  const accepted: number[] = [];
  load.arrivals.at.clear();
  const startedAt = performance.now();
  let last = 0;
  const session = async () => {
    const client = await openClient(port);
    await client.say("EHLO bench.example.test\r\n");
    while (last < messages) {
      last += 1;
      const number = last;
      await Bun.sleep(Math.max(0, startedAt + number * everyMs - performance.now()));
      await client.say("MAIL FROM:<sender@timed.test>\r\n");
      await client.say(`RCPT TO:<${number}@${DOMAIN}>\r\n`);
      await client.say("DATA\r\n");
      const latency = await client.say(message);
      dots.set(number, performance.now() - latency);
      accepted.push(latency);
    }
    await client.say("QUIT\r\n");
    client.end();
  };
  await Promise.all(Array.from({ length: sessions }, session));
  await until("all mail has arrived", () => load.arrivals.at.size === messages, WAIT_MS);
  const relayed = [...dots].map(([number, dot]) => (load.arrivals.at.get(number) ?? 0) - dot);
  return { accepted, relayed };
}
