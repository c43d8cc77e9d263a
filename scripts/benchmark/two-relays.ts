import { freePort } from "../../tests/support/free-port.ts";
import { mailHost } from "../../tests/support/mail-host.ts";
import { until } from "../../tests/support/until.ts";
import { type Contender, startOurs } from "./contender.ts";
import { smtpSource } from "./load.ts";
import { WAIT_MS } from "./measured.ts";
import type { Measures, Setting } from "./measures.ts";
import { relayNode } from "./nodes.ts";
import { median } from "./statistics.ts";
import type { StoreKind } from "./stores.ts";

export const TIMES_ONE = "two nodes, times one";

/** Every reply of the next hop takes so long: it is what limits, and no processor is busy. */
const DELAY_MS = 200;
/** Deliveries of one node at once; what all nodes together may have under way for a destination is far more. */
const PER_NODE = 20;
const LIMITS: readonly string[] = [
  ...["--set", `queue.deliveries_max=${PER_NODE}`],
  ...["--set", "queue.per_destination_max=200", "--set", "queue.per_destination_start=200"],
];
const MESSAGES_MAX = 600;

/** What one relay-only node hands on in a second, and what two on the same store do. */
export function twoRelays(kind: StoreKind) {
  return async (setting: Setting): Promise<Measures> => {
    const one: number[] = [];
    const two: number[] = [];
    for (let run = 0; run < setting.runs; run += 1) {
      for (const nodes of run % 2 === 0 ? [1, 2] : [2, 1]) {
        const rate = await rateOf(kind, nodes, setting);
        (nodes === 1 ? one : two).push(rate);
        console.log(`  ${nodes} relay-only: ${rate.toFixed(0)} messages/s`);
      }
    }
    return {
      "messages/s, one node": median(one),
      "messages/s, two nodes": median(two),
      [TIMES_ONE]: median(two) / median(one),
    };
  };
}

/** Of mail that lies in the store when the nodes start: from when all of them deliver until the last of it is under way. */
async function rateOf(kind: StoreKind, nodes: number, setting: Setting): Promise<number> {
  const messages = Math.min(setting.messages, MESSAGES_MAX);
  const takenAt: number[] = [];
  await using store = await kind.start(setting.parent);
  const port = await freePort();
  await using host = await mailHost("127.0.0.1", port, {
    delayMs: DELAY_MS,
    onTaken: () => void takenAt.push(performance.now()),
  });
  await using edge = await startOurs({ ...setting, nextHop: "none", spool: store.url });
  await fill(edge, messages, setting);
  await using relays = new AsyncDisposableStack();
  const starting = Array.from({ length: nodes }, () => relayNode(store.url, port, setting, LIMITS));
  for (const node of await Promise.all(starting)) relays.use(node);
  const isBusy = () => host.connections.now >= nodes * PER_NODE;
  await until("all nodes deliver", isBusy, WAIT_MS);
  const first = host.taken();
  const last = messages - nodes * PER_NODE;
  await until("nearly all mail is at the next hop", () => host.taken() > last, WAIT_MS);
  await until("an empty queue", async () => (await edge.queued()) === 0, WAIT_MS);
  if (host.taken() !== messages) throw new Error(`the next hop took ${host.taken()} messages`);
  const seconds = ((takenAt[last] ?? 0) - (takenAt[first] ?? 0)) / 1000;
  return (last - first) / seconds;
}

async function fill(edge: Contender, messages: number, setting: Setting): Promise<void> {
  const { sessions, bytes } = setting;
  await smtpSource({ port: edge.smtpPort, messages, sessions, bytes, reuse: true });
}
