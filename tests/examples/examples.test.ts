import { expect, test } from "bun:test";
import type { Envelope, MapLike, MessageRow } from "slimta-queue";
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
