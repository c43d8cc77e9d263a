import { expect, test } from "bun:test";
import { seededRandom } from "../../support/seeded.ts";
import { corpus } from "./corpus.ts";
import { bytesOf, MUTANT_BYTES_MAX, mutator } from "./mutate.ts";
import { rounds } from "./rounds.ts";

test("mutants differ from their input, the same ones for the same seed, and the input stays", () => {
  const input = bytesOf("EHLO client.example\r\nQUIT\r\n");
  const before = input.slice();
  const mutants = (seed: number) => {
    const mutate = mutator(seededRandom(seed), ["TOKEN"]);
    return Array.from({ length: 200 }, () => Buffer.from(mutate(input)).toString("latin1"));
  };
  expect(mutants(1)).toEqual(mutants(1));
  expect(mutants(1)).not.toEqual(mutants(2));
  expect(new Set(mutants(3)).size).toBeGreaterThan(150);
  expect(mutants(4).some((mutant) => mutant.includes("TOKEN"))).toBe(true);
  expect(input).toEqual(before);
});

test("mutants of nothing and of much stay within bounds", () => {
  const mutate = mutator(seededRandom(5));
  let grown = new Uint8Array(0);
  for (let round = 0; round < 5000; round += 1) grown = new Uint8Array(mutate(grown, grown));
  const large = new Uint8Array(MUTANT_BYTES_MAX);
  for (let round = 0; round < 100; round += 1) {
    expect(mutate(large, large).length).toBeLessThanOrEqual(MUTANT_BYTES_MAX);
  }
});

test("a round that fails says how to replay it", async () => {
  let count = 0;
  const failing = rounds(10, () => {
    count += 1;
    if (count === 3) throw new Error("three");
  });
  await expect(failing).rejects.toThrow(/SLIMTA_QUEUE_SEED=\d+ replays: three/u);
});

test("a target without samples has an empty corpus", () => {
  expect(corpus("no-such-target")).toEqual([]);
});
