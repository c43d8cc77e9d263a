/**
 * How every fuzzer of `tests/fuzz` runs: a quick number of rounds, or `SLIMTA_QUEUE_FUZZ_SECONDS` each. `SLIMTA_QUEUE_SEED`, which a
 * failure names, begins with the round that failed; what once failed is kept in `corpus/`, or in a test with a name.
 */
import { seededRandom, testSeed } from "../../support/seeded.ts";

/** How long a fuzzer goes on instead of its quick number of rounds. */
const SECONDS = Number(Bun.env.SLIMTA_QUEUE_FUZZ_SECONDS ?? 0);

/** For `test`: long enough for the long form. */
export const FUZZ_TIMEOUT_MS = (SECONDS + 120) * 1000;

/**
 * Runs rounds one after the other, each with dice of its own: `quick` of them, or as many as fit in
 * `SLIMTA_QUEUE_FUZZ_SECONDS`. A round that throws ends it, with an error that says how to replay just that round.
 */
export async function rounds(
  quick: number,
  run: (random: () => number, seed: number) => Promise<void> | void,
): Promise<void> {
  const first = testSeed();
  const endsAt = performance.now() + SECONDS * 1000;
  for (let round = 0; SECONDS > 0 ? performance.now() < endsAt : round < quick; round += 1) {
    const seed = (first + round) >>> 0;
    try {
      await run(seededRandom(seed), seed);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`SLIMTA_QUEUE_SEED=${seed} replays: ${message}`, { cause });
    }
  }
}
