/** The long form of the crash soak: see HELP. */
import { runAtExit } from "../support/at-exit.ts";
import { whyNoBinary } from "../support/binary.ts";
import { scriptFlags } from "../support/flags.ts";
import { testSeed } from "../support/seeded.ts";
import { crashSoak, soakSummary } from "./crash-soak.ts";

const HELP = `bun run soak:crash [flags]: kills and stops ./slimta-queue under load, fills its disk, takes its next hops away

  --minutes N        how long (10)
  --seed N           what happens, in which order (any); when exactly it meets the mail is up to the machine
  --disk ext4|tmpfs  the small disk that is filled (ext4); without root none is
  --verbose          tells what happens as it does

Needs the executable of scripts/build. Exit code 1: the ledger does not balance, or a promise was broken otherwise; then
the history is printed, with the seed that brings most of it about again.`;

const { values, number, word, refuse } = scriptFlags("soak:crash", HELP, {
  minutes: { type: "string", default: "10" },
  seed: { type: "string", default: String(testSeed()) },
  disk: { type: "string", default: "ext4" },
  verbose: { type: "boolean", default: false },
});
const seed = number("seed", { whole: true });
const durationMs = number("minutes") * 60_000;
const disk = word("disk", ["tmpfs", "ext4"]);
const reason = whyNoBinary();
if (reason !== undefined) refuse(reason);
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
