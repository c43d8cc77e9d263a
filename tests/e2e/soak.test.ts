import { expect, test } from "bun:test";
import { crashSoak, soakSummary } from "../soak/crash-soak.ts";
import { testSeed } from "../support/seeded.ts";

/** The long form: `bun run soak:crash --minutes 60`. */
const DURATION_MS = 18_000;

test("P1, P4, P5, P8, P10: whatever happens to a daemon, its disk and its next hops, the ledger balances", async () => {
  const seed = testSeed();
  const disk = seed % 2 === 0 ? "tmpfs" : "ext4";
  const report = await crashSoak({ seed, durationMs: DURATION_MS, disk });
  console.info(`seed ${seed}: ${soakSummary(report)}`);
  if (report.broken.length > 0) console.info(report.history);
  expect(report.broken, report.history).toEqual([]);
  // Otherwise nothing was tried.
  expect(report.balance.acknowledged).toBeGreaterThan(20);
  expect(report.crashes).toBeGreaterThan(2);
}, 150_000);
