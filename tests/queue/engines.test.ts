import { expect, test } from "bun:test";
import fc from "fast-check";
import { realWorld } from "../../src/lib/world.ts";
import { constantBackoff } from "../../src/schedule/backoff.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import { openMemoryStorage } from "../../src/storage/memory/memory-storage.ts";
import { openRecorder } from "../support/recorder.ts";
import type { Said } from "../support/scripted-relay.ts";
import { dice, simWorld } from "../support/sim-world.ts";
import { tempDir } from "../support/temp-dir.ts";
import { DAY, LIFETIME, MINUTE, mail, OPTIONS, setUp } from "./queue-fixture.ts";

/** How each recipient of each message ended, from the events alone: `ID address status`, once for each end. */
function endsIn(events: ReturnType<typeof openRecorder>): readonly string[] {
  return events
    .all("delivery")
    .filter(({ status }) => status !== "deferred")
    .map(({ id, recipient }) => `${id} ${recipient}`)
    .toSorted();
}

const SAYS: readonly Said[] = ["delivered", "deferred", "rejected", "down"];

test("over the memory engine, whatever peers and operators do, every recipient ends exactly once", async () => {
  const acts = fc.array(fc.constantFrom("flush", "retry", "hold", "release", "wait"), {
    maxLength: 12,
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1 }), acts, async (seed, what) => {
      const world = simWorld(seed);
      const roll = dice(seed);
      const storage = openMemoryStorage({ bodyBytesMax: 1e6 }, { world });
      const { queue, control, relay, recorder } = setUp({
        parts: { storage, world },
        script: () => SAYS[Math.floor(roll() * SAYS.length)] ?? "delivered",
      });
      const expected: string[] = [];
      for (let count = 0; count < 12; count += 1) {
        const to = [`a${count}@d${count % 3}.test`, `b${count}@d${count % 3}.test`];
        const envelope = mail(to, { sender: "", receivedAt: world.clock.now() });
        const [id = ""] = await queue.enqueue(envelope);
        expected.push(...to.map((address) => `${id} ${address}`));
        const act = what[count];
        if (act === "flush") await control.flush();
        else if (act === "wait") await world.advance(3 * MINUTE);
        else if (act !== undefined) await control[act](id);
      }
      await world.advance(MINUTE);
      await control.each("release", {});
      await world.advance(2 * DAY);
      expect((await storage.getInfo()).size).toBe(0);
      expect(endsIn(recorder)).toEqual(expected.toSorted());
      expect(relay.calls.every(({ indexes }) => indexes.length > 0)).toBe(true);
      await queue.drain(AbortSignal.abort());
    }),
    { numRuns: 30 },
  );
});

test("over the disk engine and in real time, every recipient ends exactly once", async () => {
  await using spool = tempDir("queue");
  const recorder = openRecorder();
  const world = { ...realWorld, random: dice(7) };
  const storage = await openDiskStorage(
    { directory: spool.join("spool"), freshBytesMax: 1e6, freeBytesMin: 0, freePercentMin: 0 },
    { world, emit: recorder.emit },
  );
  const roll = dice(7);
  const backoff = constantBackoff({ delayMs: 5, jitter: 0, lifetimeMs: LIFETIME });
  const lifetimes = { ...OPTIONS.lifetimes, backoff, bounceBackoff: backoff };
  const { queue } = setUp({
    options: { lifetimes },
    parts: { storage, world, emit: recorder.emit },
    // Nobody is down: a suspension lasts for seconds.
    script: () => SAYS[Math.floor(roll() * 3)] ?? "delivered",
  });
  const expected: string[] = [];
  for (let count = 0; count < 100; count += 1) {
    const to = [`a${count}@d${count % 5}.test`, `b${count}@d${count % 5}.test`];
    const envelope = mail(to, { sender: "", receivedAt: world.clock.now() });
    const [id = ""] = await queue.enqueue(envelope);
    expected.push(...to.map((address) => `${id} ${address}`));
  }
  for (let count = 0; count < 100; count += 1) await recorder.next("removed");
  expect(endsIn(recorder)).toEqual(expected.toSorted());
  expect((await storage.getInfo()).size).toBe(0);
  await queue.drain(AbortSignal.timeout(5000));
  await storage.close();
});
