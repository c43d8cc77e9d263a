import { expect, test } from "bun:test";
import { describeWithPeers } from "../support/peers.ts";
import { cutPower } from "./power-cut.ts";

/** SLIMTA_QUEUE_POWER_CUT_STATES: how many states of each recording; SLIMTA_QUEUE_POWER_CUT_SEED: which ones. */
const states = Number(Bun.env.SLIMTA_QUEUE_POWER_CUT_STATES ?? 240);
const seed = Number(Bun.env.SLIMTA_QUEUE_POWER_CUT_SEED ?? 1);

describeWithPeers(["strace"], "a power cut at any instant (P1-P6)", () => {
  test("loses nothing that was acknowledged, and leaves nothing half done", async () => {
    const { findings, ...counts } = await cutPower({ seed, states, findingsMax: 3 });
    const told = findings.map(
      ({ text, problems }) => `${text}\n  wrong:\n    ${problems.join("\n    ")}`,
    );
    expect(told.join("\n\n")).toBe("");
    expect(counts.cuts).toBeGreaterThan(2000);
    expect(counts.checked).toBeGreaterThan(Math.min(states, 100) * counts.recordings);
  }, 600_000);
});
