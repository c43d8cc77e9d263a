import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { generate } from "./generate.ts";
import { type EngineName, formatHistory, parseHistory } from "./history.ts";
import { shrink } from "./shrink.ts";
import { simulate } from "./simulation.ts";

/** The seeds that every run of the tests goes through: about a week of mail each, with all that can go wrong. */
const SEEDS: Readonly<Record<EngineName, readonly number[]>> = {
  memory: [1, 2, 3, 4],
  disk: [1, 2, 3, 4, 5, 6],
};
const STEPS = 300;

for (const [engine, seeds] of Object.entries(SEEDS) as [EngineName, readonly number[]][]) {
  for (const seed of seeds) {
    test(`over the ${engine} engine nothing is lost, repeated or stuck: bun run sim --engine ${engine} --seed ${seed} --steps ${STEPS}`, async () => {
      const result = await simulate(generate({ seed, steps: STEPS, engine, days: 1 }));
      expect(result.violation).toBeUndefined();
      expect(result.counts.delivered).toBeGreaterThan(100);
      expect(result.counts.crashes).toBeGreaterThan(2);
    });
  }
}

test("the same seed gives the same history, event by event", async () => {
  const history = generate({ seed: 7, steps: 80, engine: "disk", days: 0.3 });
  const [first, second] = [await simulate(history), await simulate(history)];
  expect(second).toEqual(first);
});

test("a history is read back as it was written", () => {
  const history = generate({ seed: 9, steps: 200, engine: "disk", days: 1 });
  expect(parseHistory(`# a comment\n${formatHistory(history)}\n`)).toEqual(history);
});

test("a history that goes wrong is cut down to what it takes", async () => {
  const history = generate({ seed: 3, steps: 120, engine: "memory", days: 1 });
  const isWrong = async ({ commands }: typeof history) =>
    commands.some((one) => one.do === "send" && one.to.some((to) => to.includes(".bad@"))) &&
    commands.some((one) => one.do === "peer");
  const { commands } = await shrink(history, isWrong, 1000);
  expect(commands.map((one) => one.do).toSorted()).toEqual(["peer", "send"]);
});

const REGRESSIONS = `${import.meta.dir}/regressions`;
for (const name of readdirSync(REGRESSIONS)) {
  test(`once wrong: ${name}`, async () => {
    const history = parseHistory(readFileSync(`${REGRESSIONS}/${name}`, "utf8"));
    expect((await simulate(history)).violation).toBeUndefined();
  });
}
