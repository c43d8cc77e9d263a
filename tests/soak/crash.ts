/**
 * The long form of the crash soak: `bun run soak:crash [--minutes 10] [--seed N] [--disk tmpfs|ext4] [--verbose]`. Needs
 * the executable; as root it also fills a small disk.
 */
import { parseArgs } from "node:util";
import { runAtExit } from "../support/at-exit.ts";
import { testSeed } from "../support/seeded.ts";
import { crashSoak, soakSummary } from "./crash-soak.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string" },
    disk: { type: "string", default: "ext4" },
    verbose: { type: "boolean", default: false },
  },
});
const seed = values.seed === undefined ? testSeed() : Number(values.seed);
const durationMs = Number(values.minutes) * 60_000;
const disk = values.disk === "tmpfs" ? "tmpfs" : "ext4";
console.log(`crash soak for ${values.minutes} minutes, seed ${seed}, disk ${disk}`);
try {
  const onNote = values.verbose ? { onNote: (text: string) => console.log(text) } : {};
  const report = await crashSoak({ seed, durationMs, disk, ...onNote });
  if (report.broken.length > 0) console.log(report.history);
  console.log(soakSummary(report));
  process.exitCode = report.broken.length === 0 ? 0 : 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  runAtExit();
}
