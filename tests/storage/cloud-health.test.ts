import { describe, expect, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import { openHealth } from "../../src/storage/cloud/health.ts";
import { simWorld } from "../support/sim-world.ts";

const LOST = new QueueError("somebody was quicker, or the store is ill");

/** A store that is well or not, and what is thought of it. */
function store() {
  const world = simWorld();
  const it = { isWell: true, isHung: false, asked: 0 };
  const health = openHealth(world.clock, async () => {
    it.asked += 1;
    if (it.isHung) await new Promise(() => undefined);
    if (!it.isWell) throw new QueueError("the object store is ill");
  });
  return { it, health, world };
}

describe("what is thought of an object store", () => {
  test("who loses a race does not make it refuse mail: it is asked first", async () => {
    const { it, health, world } = store();
    expect(health.doubted("cannot write", LOST).message).toContain("somebody was quicker");
    expect(health.refusal()).toBeUndefined();
    await world.settle();
    expect([health.refusal(), it.asked]).toEqual([undefined, 1]);
    it.isWell = false;
    health.doubted("cannot write", LOST);
    await world.settle();
    expect(health.refusal()).toBe("the object store is ill");
    it.isWell = true;
    await world.advance(1500);
    expect(health.refusal()).toBeUndefined();
  });

  test("one that fails is asked by one only, until it is well", async () => {
    const { it, health, world } = store();
    it.isWell = false;
    health.doubted("cannot write", LOST);
    health.failed("cannot read", LOST);
    await world.advance(10_500);
    expect(it.asked).toBeLessThan(13);
    expect(health.refusal()).toBeDefined();
    health.stop();
  });

  test("a probe of one that hangs says so in time, and what is known; being slow is no trouble yet", async () => {
    const { it, health, world } = store();
    it.isHung = true;
    const unknown = health.probe().catch((error: Error) => error.message);
    await world.advance(3500);
    expect(await unknown).toBe("the object store gave no answer in 3 seconds");
    expect(health.refusal()).toBeUndefined();
    health.failed("cannot read", LOST);
    const known = health.probe().catch((error: Error) => error.message);
    await world.advance(3500);
    expect(await known).toContain("somebody was quicker");
    health.stop();
  });
});
