import { until } from "../../tests/support/until.ts";
import { messageOf, openClient } from "./load.ts";
import type { Measures } from "./measures.ts";
import { quantile } from "./statistics.ts";

export const DOT_P50_TIMES = "p50 to 250, times";
export const DOT_P99_TIMES = "p99 to 250, times";
export const HOP_P50_TIMES = "p50 to next hop, times";
export const HOP_P99_TIMES = "p99 to next hop, times";

/** A load that leaves the server time: what is measured is how long mail takes, not how much of it fits. */
export interface PacedLoad {
  readonly port: number;
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

/** Milliseconds from the final dot of each message, in no particular order. */
export interface Latencies {
  /** To the 250. */
  readonly accepted: readonly number[];
  /** Until the next hop had it. */
  readonly relayed: readonly number[];
}

/** Messages of one round: enough for a p99. */
const MESSAGES = 2000;
const SESSIONS = 4;
const BYTES = 10 * 1024;
/** From the start of one message to the start of the next, all sessions together: a fraction of what fits. */
const EVERY_MS = 5;
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

/** Sends each message at its time, to the host `timed`, and waits until all have arrived there. */
export async function pacedLatencies({ port, arrivals: { at } }: PacedLoad): Promise<Latencies> {
  const message = messageOf(BYTES);
  const dots = new Map<number, number>();
  const accepted: number[] = [];
  at.clear();
  const startedAt = performance.now();
  let last = 0;
  const session = async () => {
    const client = await openClient(port);
    await client.say("EHLO bench.example.test\r\n");
    while (last < MESSAGES) {
      last += 1;
      const number = last;
      await Bun.sleep(Math.max(0, startedAt + number * EVERY_MS - performance.now()));
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
  await Promise.all(Array.from({ length: SESSIONS }, session));
  await until("all mail has arrived", () => at.size === MESSAGES, WAIT_MS);
  const relayed = [...dots].map(([number, dot]) => (at.get(number) ?? 0) - dot);
  return { accepted, relayed };
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

/** Over the messages of several rounds: one slow moment of the machine does not make a p99. */
function pooled(rounds: readonly Latencies[], kind: keyof Latencies, share: number): number {
  return quantile(
    rounds.flatMap((latencies) => latencies[kind]),
    share,
  );
}
