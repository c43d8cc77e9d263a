import { describe, expect, test } from "bun:test";
import { ServerClock } from "../../src/storage/cloud/aws/server-clock.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";

const START = Date.UTC(2030, 0, 1);

/** Answers of a server whose clock is `aheadMs` ahead, over some time; tells when that is over. */
function watched(
  clock: ServerClock,
  aheadMs: number,
  random: () => number,
  { start = START, answers = 300 } = {},
): number {
  let now = start;
  for (let count = 0; count < answers; count += 1) {
    const sentAt = now;
    const actedAt = sentAt + random() * 20;
    const receivedAt = actedAt + random() * 20;
    clock.note(new Date(actedAt + aheadMs).toUTCString(), sentAt, receivedAt);
    now = receivedAt + random() * 100;
  }
  return now;
}

describe("the clock of a store", () => {
  test("is found to within about the time of a request, out of whole seconds", () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    for (const ahead of [-86_400_000, -1234, 700, 5000, 3_600_000]) {
      const clock = new ServerClock();
      watched(clock, ahead, random);
      expect(Math.abs(clock.differenceMs - ahead), `seed ${seed}: ${ahead}`).toBeLessThan(60);
    }
  });

  test("is this node's own while nothing contradicts that", () => {
    const clock = new ServerClock();
    expect(clock.differenceMs).toBe(0);
    watched(clock, 0, seededRandom(testSeed()));
    expect(clock.differenceMs).toBe(0);
  });

  test("is followed when somebody sets it, and when this node's is set", () => {
    const random = seededRandom(7);
    const clock = new ServerClock();
    watched(clock, 100, random);
    watched(clock, 60_000, random);
    expect(Math.abs(clock.differenceMs - 60_000)).toBeLessThan(60);
    watched(clock, -60_000, random);
    expect(Math.abs(clock.differenceMs + 60_000)).toBeLessThan(60);
  });

  test("lies between those of servers that are a little apart", () => {
    const random = seededRandom(7);
    const clock = new ServerClock();
    let start = START;
    for (let turn = 0; turn < 60; turn += 1) {
      start = watched(clock, turn % 2 === 0 ? 300 : 400, random, { start, answers: 5 });
    }
    expect(clock.differenceMs).toBeGreaterThan(250);
    expect(clock.differenceMs).toBeLessThan(450);
  });

  test("is not learned from what is no time", () => {
    const clock = new ServerClock();
    clock.note(null, START, START);
    clock.note("yesterday", START, START);
    // Time ran backwards while the request was under way.
    clock.note(new Date(START + 9_000_000).toUTCString(), START, START - 1);
    expect(clock.differenceMs).toBe(0);
  });
});
