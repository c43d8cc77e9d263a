import { expect, test } from "bun:test";
import { nodesSoak, nodesSummary } from "../soak/nodes-soak.ts";
import { type StoreName, startStore } from "../soak/store-servers.ts";
import { productCommand } from "../support/binary.ts";
import { describeWithPeers } from "../support/peers.ts";
import { testSeed } from "../support/seeded.ts";

/** Each event once; the long form: `bun tests/soak/nodes.ts --minutes 10`. */
const DURATION_MS = 0;

const soaks: readonly (readonly [StoreName, string, number])[] = [
  ["redis", "redis-server", 2],
  ["postgres", "postgres", 3],
];

for (const [store, peer, nodes] of soaks) {
  describeWithPeers([peer], `${nodes} nodes on ${store}, under load`, () => {
    test("nothing acknowledged is lost, and nothing delivered by two nodes at once", async () => {
      const seed = testSeed();
      await using server = await startStore(store);
      const command = productCommand();
      const report = await nodesSoak({ seed, nodes, durationMs: DURATION_MS, server, command });
      console.info(`seed ${seed}: ${nodesSummary(report)}`);
      expect(report.broken, report.history).toEqual([]);
      // Otherwise nothing was tried.
      expect(report.balance.acknowledged).toBeGreaterThan(100);
    }, 150_000);
  });
}
