import { freePort } from "../../tests/support/free-port.ts";
import { mailHost } from "../../tests/support/mail-host.ts";
import { until } from "../../tests/support/until.ts";
import { startOurs } from "./contender.ts";
import { messageOf, openClient } from "./load.ts";
import { WAIT_MS } from "./measured.ts";
import type { Measures, Setting } from "./measures.ts";
import { relayNode } from "./nodes.ts";
import { quantile } from "./statistics.ts";
import type { StoreKind } from "./stores.ts";

export const WAKE_P50 = "250 to next hop, p50 ms";

const MESSAGES = 300;
/** Messages that are not counted: connections are made and code is compiled. */
const WARMUP = 30;
/** Between two messages; what one has woken has gone to sleep again. */
const PAUSE_MS = 50;
const BYTES = 10 * 1024;

/**
 * How long mail that an edge-only node has accepted needs to an idle relay-only node: one message at a time, until the next
 * hop has its first octet.
 */
export function wakeUp(kind: StoreKind) {
  return async (setting: Setting): Promise<Measures> => {
    let heardAt = 0;
    await using store = await kind.start(setting.parent);
    const port = await freePort();
    await using host = await mailHost("127.0.0.1", port, {
      whim(step) {
        if (step !== "greeting" && heardAt === 0) heardAt = performance.now();
        return undefined;
      },
    });
    await using edge = await startOurs({ ...setting, nextHop: "none", spool: store.url });
    await using _relay = await relayNode(store.url, port, setting);
    const client = await openClient(edge.smtpPort);
    await client.say("EHLO bench.example.test\r\n");
    const fromReply: number[] = [];
    const fromDot: number[] = [];
    for (let sent = 1; sent <= WARMUP + MESSAGES; sent += 1) {
      await Bun.sleep(PAUSE_MS);
      heardAt = 0;
      for (const line of ["MAIL FROM:<a@a.test>", "RCPT TO:<b@b.test>", "DATA"])
        await client.say(`${line}\r\n`);
      const latency = await client.say(messageOf(BYTES));
      const repliedAt = performance.now();
      await until("the next hop has it", () => host.taken() === sent, WAIT_MS);
      if (sent <= WARMUP) continue;
      fromReply.push(Math.max(0, heardAt - repliedAt));
      fromDot.push(heardAt - repliedAt + latency);
    }
    client.end();
    return {
      [WAKE_P50]: quantile(fromReply, 0.5),
      "250 to next hop, p99 ms": quantile(fromReply, 0.99),
      "final dot to next hop, p50 ms": quantile(fromDot, 0.5),
      "final dot to next hop, p99 ms": quantile(fromDot, 0.99),
    };
  };
}
