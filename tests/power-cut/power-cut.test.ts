import { expect, test } from "bun:test";
import { describeWithPeers } from "../support/peers.ts";
import { cutPower } from "./power-cut.ts";

/** How many states of each recording are looked at, and which ones. The long form: run.ts. */
const STATES = 240;
const SEED = 1;
const AGAIN = `bun tests/power-cut/run.ts --seed ${SEED} --states ${STATES} --breaks 0 --keep DIR`;

describeWithPeers(["strace"], "a power cut at any instant (P1-P6)", () => {
  test(`loses nothing that was acknowledged, and leaves nothing half done: ${AGAIN}`, async () => {
    const { findings, ...counts } = await cutPower({ seed: SEED, states: STATES, findingsMax: 3 });
    const told = findings.map(
      ({ text, problems }) => `${text}\n  wrong:\n    ${problems.join("\n    ")}`,
    );
    expect(told.join("\n\n")).toBe("");
    expect(counts.cuts).toBeGreaterThan(2000);
    expect(counts.checked).toBeGreaterThan(100 * counts.recordings);
  }, 600_000);
});
