/** The long form of the nodes soak: see HELP. */
import { runAtExit } from "../support/at-exit.ts";
import { binaryCommand, whyNoBinary } from "../support/binary.ts";
import { scriptFlags } from "../support/flags.ts";
import { testSeed } from "../support/seeded.ts";
import { nodesSoak, nodesSummary } from "./nodes-soak.ts";
import { STORES, startStore } from "./store-servers.ts";

const HELP = `bun tests/soak/nodes.ts [flags]: kills, stops and freezes nodes of ./slimta-queue on one store, and the store, under load

  --store ${STORES.join("|")}  what they share, a server of the soak's own (redis)
  --nodes N               how many of them (3)
  --minutes N             how long (10)
  --seed N                what happens, in which order (any); when exactly it meets the mail is up to the machine
  --verbose               tells what happens as it does

Needs the executable of scripts/build. Exit code 1: something acknowledged is lost, or was delivered by two nodes at once,
or once more without a node that died in the middle of it; then the history is printed, with the seed.`;

const { values, number, word, refuse } = scriptFlags("soak/nodes", HELP, {
  store: { type: "string", default: "redis" },
  nodes: { type: "string", default: "3" },
  minutes: { type: "string", default: "10" },
  seed: { type: "string", default: String(testSeed()) },
  verbose: { type: "boolean", default: false },
});
const seed = number("seed", { whole: true });
const nodes = number("nodes", { whole: true, least: 1 });
const durationMs = number("minutes") * 60_000;
const store = word("store", STORES);
const reason = whyNoBinary();
if (reason !== undefined) refuse(reason);
console.log(`${nodes} nodes on ${store} for ${values.minutes} minutes, seed ${seed}`);
try {
  await using server = await startStore(store);
  const onNote = values.verbose ? { onNote: (text: string) => console.log(text) } : {};
  const command = binaryCommand();
  const report = await nodesSoak({ seed, nodes, durationMs, server, command, ...onNote });
  if (report.broken.length > 0) console.log(report.history);
  console.log(nodesSummary(report));
  process.exitCode = report.broken.length === 0 ? 0 : 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  runAtExit();
}
