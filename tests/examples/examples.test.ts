import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Envelope, MapLike, MessageRow } from "slimta-queue";
import { startChild } from "../support/child.ts";
import { tempDir } from "../support/temp-dir.ts";
import { sendSomeMail } from "./embedded-queue.ts";
import { acrossProcesses, deliver, keep } from "./own-storage.ts";

test("a program with a queue of its own: policies, a relay, a backoff and bounces that it wrote itself", async () => {
  await using dir = tempDir("example");
  const { carried, told, refused, size } = await sendSomeMail(dir.join("queue"));
  // Two go their way at once, one in spite of the weather, and the sender hears of the fourth.
  expect(carried.toSorted()).toEqual(["ann@one.example", "far@two.example", "orders@shop.example"]);
  expect(carried.indexOf("far@two.example")).toBeGreaterThan(carried.indexOf("ann@one.example"));
  expect(refused).toBe("mail to oneself");
  expect(size).toBe(0);
  const count = (kind: string) => told.filter((each) => each === kind).length;
  expect({
    accepted: count("accepted"),
    delivery: count("delivery"),
    notification: count("notification"),
    removed: count("removed"),
  }).toEqual({ accepted: 3, delivery: 5, notification: 1, removed: 3 });
});

test("a queue over two Maps, over a file, and over what only looks like a Map", async () => {
  const maps = { envelopes: new Map(), meta: new Map() };
  const id = await keep(maps, "over Maps");
  expect([...maps.envelopes.keys()]).toEqual([id]);
  expect(await deliver(maps)).toEqual([id]);
  expect(maps.meta.size).toBe(0);

  await using dir = tempDir("example");
  const [kept, gone] = await acrossProcesses(dir.join("mail.db"));
  expect(gone).toEqual([kept]);

  const own = { envelopes: watched<Envelope>(), meta: watched<MessageRow>() };
  const other = await keep(own, "over something else");
  expect(own.meta.keys).toEqual([other]);
});

test("a started queue keeps its process alive until it is drained, whatever else the program does", async () => {
  // Without it the first try would be the last: nothing else is going on until the next one.
  const child = startChild([process.execPath, "-e", PATIENT], {
    cwd: join(import.meta.dir, "../.."),
  });
  expect(await child.exited).toBe(0);
  expect(child.output()).toContain("delivered at the 2nd try");
});

const PATIENT = `
import { constantBackoff, newEnvelope, openCustomRelay, openMemoryStorage, openQueue, reply } from "slimta-queue";
const relay = openCustomRelay(async ({ attempts }) => {
  if (attempts === 0) return reply(451, "4.3.0", "Later");
  setImmediate(() => queue.drain(AbortSignal.timeout(1000)));
  console.log("delivered at the 2nd try");
  return reply(250, "2.0.0", "Ok");
});
const backoff = constantBackoff({ delayMs: 300, jitter: 0, lifetimeMs: 60_000 });
const queue = openQueue({ storage: openMemoryStorage(), relay, backoff });
queue.start();
void queue.enqueue(newEnvelope({ sender: "me@one.example", recipients: ["ann@one.example"], message: "\\n" }));
`;

/** Something like a Map that remembers what was set. */
function watched<V>(): MapLike<V> & { readonly keys: readonly string[] } {
  const inner = new Map<string, V>();
  const keys: string[] = [];
  return {
    keys,
    get: (key) => inner.get(key),
    set: (key, value) => {
      keys.push(key);
      inner.set(key, value);
    },
    delete: (key) => inner.delete(key),
    values: () => inner.values(),
  };
}
