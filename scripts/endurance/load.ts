import { type Client, messageOf, openClient } from "../benchmark/load.ts";
import type { Plan } from "./mix.ts";
import { passes } from "./world.ts";

/** What the clients of a mixed load saw so far. */
export interface Load {
  readonly transactions: number;
  readonly recipients: number;
  readonly bytes: number;
  /** What clients were told in place of a 250, or why a connection ended, with how often. */
  readonly refusals: ReadonlyMap<string, number>;
  /** The milliseconds from final dot to 250 of each transaction since this was called last. */
  takeLatencies(): readonly number[];
  /** Resolves when all sessions have ended. */
  readonly ended: Promise<void>;
}

export interface LoadOptions {
  readonly port: number;
  readonly sessions: number;
  /** Transactions in a second, all sessions together, as long as the server keeps up. */
  readonly rate: number;
  readonly plan: () => Plan;
  readonly random: () => number;
  readonly until: AbortSignal;
}

const REFUSALS_MAX = 50;
const RECONNECT_MS = 100;

/** Sends a mixed load until told to stop. */
export function startLoad(options: LoadOptions): Load {
  const counts = { transactions: 0, recipients: 0, bytes: 0 };
  const refusals = new Map<string, number>();
  let latencies: number[] = [];

  const note = (error: unknown) => {
    const text = (error instanceof Error ? error.message : String(error)).trim().slice(0, 80);
    const key = refusals.has(text) || refusals.size < REFUSALS_MAX ? text : "other";
    refusals.set(key, (refusals.get(key) ?? 0) + 1);
  };
  const send = async (client: Client, plan: Plan) => {
    await client.say("MAIL FROM:<s@sender.take.test>\r\n");
    for (const recipient of plan.recipients) await client.say(`RCPT TO:<${recipient}>\r\n`);
    await client.say("DATA\r\n");
    latencies.push(await client.say(messageOf(plan.bytes)));
    counts.transactions += 1;
    counts.recipients += plan.recipients.length;
    counts.bytes += plan.bytes;
  };
  /** One connection for as long as it is kept. */
  const visit = async () => {
    const client = await openClient(options.port);
    try {
      await client.say("EHLO load.test\r\n");
      for (let keep = true; keep && !(await pause(options)); ) {
        const plan = options.plan();
        await send(client, plan);
        keep = plan.keep;
      }
      await client.say("QUIT\r\n");
    } finally {
      client.end();
    }
  };
  const session = async () => {
    while (!options.until.aborted) {
      try {
        await visit();
      } catch (error) {
        note(error);
        await passes(RECONNECT_MS, options.until);
      }
    }
  };

  const ended = Promise.all(Array.from({ length: options.sessions }, session));
  return {
    get transactions() {
      return counts.transactions;
    },
    get recipients() {
      return counts.recipients;
    },
    get bytes() {
      return counts.bytes;
    },
    refusals,
    takeLatencies() {
      const taken = latencies;
      latencies = [];
      return taken;
    },
    ended: ended.then(() => undefined),
  };
}

/** Exponential, so that arrivals bunch up as they do; true when it is time to stop. */
function pause({ random, sessions, rate, until }: LoadOptions): Promise<boolean> {
  return passes((-Math.log(1 - random()) * sessions * 1000) / rate, until);
}
