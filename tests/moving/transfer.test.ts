/** What a transfer does when something is in its way. Where it is killed is another file's. */
import { describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { realWorld } from "../../src/lib/world.ts";
import { bytesContent } from "../../src/mail/content.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { LANDED_MS } from "../../src/moving/landing.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import { CorruptError, type QueueStorage } from "../../src/storage/storage.ts";
import { bytesOf, envelope, idOf, testWorld } from "../storage/fixtures.ts";
import { openStore } from "../storage/redis-fixture.ts";
import { faultyStorage } from "../support/faulty-storage.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { tempDir } from "../support/temp-dir.ts";
import { everythingIn, fill, keptStore, run, twoStores } from "./fixture.ts";

const DISK = { freshBytesMax: 0, freeBytesMin: 0, freePercentMin: 0 };
const parts = { world: realWorld, emit: () => undefined };

describe("a transfer", () => {
  test("takes everything over, and a second one finds nothing", async () => {
    const { world, from, to } = await twoStores(40);
    const before = await everythingIn(from.open());
    const seen: number[] = [];
    const report = await run(from.open(), to.open(), world, { onProgress: (n) => seen.push(n) });
    expect(report).toEqual({
      ...{ moved: 40, resumed: 0, known: 0, gone: 0, left: 0, halfway: 0 },
      ...{ leftNames: [], notes: [] },
    });
    expect(Math.max(...seen)).toBe(40);
    expect(await everythingIn(to.open())).toEqual(before);
    expect(await run(from.open(), to.open(), world)).toMatchObject({ moved: 0, left: 0 });
    expect(await run(to.open(), from.open(), world)).toMatchObject({ moved: 40 });
    expect(await everythingIn(from.open())).toEqual(before);
  });

  test("that the target refuses ends, and the source delivers as before", async () => {
    const { world, from, to, ids } = await twoStores(9);
    const before = await everythingIn(from.open());
    const full = faultyStorage(to.open());
    full.fail("write", new QueueError("no space"), undefined);
    const report = await run(from.open(), full.storage, world, { atOnce: 2 });
    expect(report).toMatchObject({ moved: 0, left: 0, halfway: 0, stopped: "/to: no space" });
    expect(full.calls("write")).toBeLessThan(ids.length);
    expect(await everythingIn(from.open())).toEqual(before);
    expect((await to.open().getInfo()).size).toBe(0);
  });

  test("asks the target whether it takes mail at all", async () => {
    const { world, from, to } = await twoStores(3);
    const storage = Object.assign(Object.create(to.open()) as QueueStorage, {
      refusal: () => "below its limit",
      get: (id: string) => to.open().get(id),
      list: (query: never) => to.open().list(query),
    });
    const report = await run(from.open(), storage, world);
    expect(report.stopped).toBe("/to: below its limit");
    expect((await from.open().getInfo()).states).toMatchObject({
      incoming: 1,
      deferred: 1,
      hold: 1,
    });
  });

  test("whose target fell silent keeps held what may have landed, and goes on later", async () => {
    const { world, from, to } = await twoStores(3);
    const before = await everythingIn(from.open());
    const silent = faultyStorage(to.open());
    silent.failAfter("write");
    silent.fail("settle");
    const report = await run(from.open(), silent.storage, world, { atOnce: 1 });
    expect(report).toMatchObject({ moved: 0, halfway: 1, stopped: "/to: EIO" });
    expect((await from.open().getInfo()).states).toMatchObject({ incoming: 0, hold: 2 });
    expect((await to.open().getInfo()).states).toMatchObject({ hold: 1 });
    expect(await run(from.open(), to.open(), world)).toMatchObject({ moved: 3, halfway: 0 });
    expect(await everythingIn(to.open())).toEqual(before);
  });

  test("whose target took longer than a run owns what has landed keeps it held, and goes on later", async () => {
    const { world, from, to } = await twoStores(3);
    const before = await everythingIn(from.open());
    const target = to.open();
    const write: QueueStorage["write"] = async (...given) => {
      const ids = await target.write(...given);
      world.advance(LANDED_MS);
      return ids;
    };
    const slow = new Proxy(target, {
      get: (_, name) => (name === "write" ? write : Reflect.get(target, name).bind(target)),
    });
    const report = await run(from.open(), slow, world, { atOnce: 1 });
    expect(report).toMatchObject({ moved: 0, halfway: 1 });
    expect(report.stopped).toContain("took too long");
    // What is there once more in the target is nobody's to deliver from the source.
    expect((await from.open().getInfo()).states).toMatchObject({ incoming: 0, hold: 2 });
    expect((await to.open().getInfo()).states).toMatchObject({ hold: 1 });
    expect(await run(from.open(), to.open(), world)).toMatchObject({ moved: 3, halfway: 0 });
    expect(await everythingIn(to.open())).toEqual(before);
  });

  test("leaves what is damaged, in the target already, or on its way elsewhere", async () => {
    const { world, from, to, ids } = await twoStores(6);
    const [damaged, taken, elsewhere] = ids;
    const faulty = faultyStorage(from.open());
    faulty.fail("get", new CorruptError("its checksum fails"), (id) => id === damaged);
    await to.open().write([envelope()], 1, { ids: [taken ?? ""] });
    await run(from.open(), to.open(), world, { atOnce: 1, signal: AbortSignal.abort() });
    const moving = { from: "/from", to: "/third", held: false };
    await from.open().settle(elsewhere ?? "", { held: true, moving });
    const report = await run(faulty.storage, to.open(), world);
    expect(report).toMatchObject({ moved: 3, left: 3 });
    const reasons = Object.fromEntries(report.leftNames.map(({ id, reason }) => [id, reason]));
    expect(reasons).toEqual({
      [damaged ?? ""]: "damaged",
      [taken ?? ""]: "taken",
      [elsewhere ?? ""]: "elsewhere",
    });
    expect((await to.open().get(taken ?? "")).recipientCount).toBe(1);
  });

  test("does not read what an operator holds in the target", async () => {
    const { world, from, to } = await twoStores(2);
    for (let index = 50; index < 60; index += 1) {
      await to.open().write([envelope()], 1, { ids: [idOf(index)], settlement: { held: true } });
    }
    const counted = faultyStorage(to.open());
    expect(await run(from.open(), counted.storage, world)).toMatchObject({ moved: 2 });
    // Twice for each that moves: whether it is there, and then whose it is.
    expect(counted.calls("get")).toBe(4);
  });

  test("that is interrupted says so", async () => {
    const { world, from, to } = await twoStores(30);
    const stop = new AbortController();
    const signal = stop.signal;
    const onProgress = () => stop.abort();
    const report = await run(from.open(), to.open(), world, { signal, onProgress, atOnce: 4 });
    expect(report).toMatchObject({ halfway: 0, stopped: "interrupted" });
    expect(report.moved).toBeLessThan(8);
    expect((await to.open().getInfo()).size).toBe(report.moved);
  });

  test("has few large messages under way at once, and many small ones", async () => {
    for (const [size, most] of [
      [2 ** 20, 8],
      [100, 40],
    ] as const) {
      const world = testWorld();
      const [from, target] = [keptStore(world).open(), keptStore(world).open()];
      const content = bytesContent(new Uint8Array(size + 1));
      const ids = Array.from({ length: 40 }, (_, index) => idOf(index + 1));
      for (const id of ids) await from.write([envelope({ content })], 1, { ids: [id] });
      let now = 0;
      let peak = 0;
      const write: QueueStorage["write"] = async (...given) => {
        now += 1;
        peak = Math.max(peak, now);
        await new Promise((resolve) => setImmediate(resolve));
        now -= 1;
        return await target.write(...given);
      };
      const to = new Proxy(target, {
        get: (_, name) => (name === "write" ? write : Reflect.get(target, name).bind(target)),
      });
      expect(await run(from, to, world)).toMatchObject({ moved: 40 });
      expect(peak).toBe(most);
    }
  });

  test("streams a large body", async () => {
    await using dir = tempDir("transfer");
    const from = await openDiskStorage({ ...DISK, directory: dir.join("from") }, parts);
    const to = await openDiskStorage({ ...DISK, directory: dir.join("to") }, parts);
    const sink = await from.openBody();
    for (let chunk = 0; chunk < 64; chunk += 1) {
      await sink.write(new Uint8Array(64 * 1024).fill(chunk));
    }
    const content = { prefix: new TextEncoder().encode("X: y\r\n"), body: await sink.end() };
    await from.write([envelope({ content })], 1, { ids: [idOf(1)] });
    const before = await bytesOf((await from.get(idOf(1))).envelope.content);
    const { clock } = realWorld;
    const world = { ...realWorld, clock, advance: () => undefined };
    expect(await run(from, to, world)).toMatchObject({ moved: 1 });
    const after = await bytesOf((await to.get(idOf(1))).envelope.content);
    expect(Buffer.compare(before, after)).toBe(0);
    await from.close();
    await to.close();
  });
});

test("what has landed on a disk is held also when the process ends at once and its database is lost", async () => {
  await using dir = tempDir("transfer");
  const options = { ...DISK, directory: dir.path };
  const moving = { from: "/from", to: "/to", held: false };
  const settlement = { attempts: 2, due: 9000, held: true, moving };
  const lease = { holder: "run", until: Date.now() + LANDED_MS };
  const first = await openDiskStorage(options, parts);
  await first.write([envelope()], 1, { ids: [idOf(1)], settlement, lease });
  await first.close();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(dir.join(`queue.db${suffix}`), { force: true });
  const second = await openDiskStorage(options, parts);
  expect(await second.get(idOf(1))).toMatchObject({
    state: "hold",
    attempts: 2,
    due: 9000,
    moving,
  });
  await second.close();
});

describeWithPeers(["redis-server"], "a transfer out of and into a store that is in use", () => {
  const open = (server: RedisServer, prefix: string) => openStore(server.url(`?prefix=${prefix}`));
  const world = { ...realWorld, advance: () => undefined };

  test("leaves what a node has, and takes it once that is given back", async () => {
    await using server = await startRedis();
    const [from, node] = [await open(server, "a"), await open(server, "a")];
    const to = keptStore(realWorld).open();
    const ids = await fill(from, 6);
    const until = Date.now() + 60_000;
    const leased = await node.lease(Date.now(), 1, { holder: "node-7", until });
    const [{ id = "" } = {}] = leased;
    const report = await run(from, to, world);
    expect(report).toMatchObject({ moved: 5, left: 1, halfway: 0 });
    expect(report.leftNames).toEqual([{ id, reason: "busy", text: "node-7 is delivering it" }]);
    // The node has not lost it, and nothing that it does later holds the message.
    await node.settle(id, { attempts: 1, due: 1 }, { holder: "node-7" });
    expect(await node.get(id)).toMatchObject({ state: "deferred", attempts: 1 });
    expect(await run(from, to, world)).toMatchObject({ moved: 1, left: 0 });
    expect((await to.list({ limit: 99 })).map((each) => each.id)).toEqual([...ids]);
    for (const each of [from, node]) await each.close();
  });

  test("ends when another run that lives is at work, and finishes what a dead one left", async () => {
    await using server = await startRedis();
    const to = await open(server, "b");
    const from = keptStore(realWorld).open();
    await fill(from, 2);
    const mark = (held: boolean) => ({ from: "/from", to: "/to", held });
    const landed = async (id: string, until: number) =>
      to.write([envelope()], 1, {
        ids: [id],
        lease: { holder: "other", until },
        settlement: { held: true, moving: mark(false) },
      });
    await landed(idOf(7), Date.now() + 60_000);
    // The other run finishes its own while this one waits for the end of its lease.
    const after = (_: number, wake: () => void) => {
      const free = { held: false, moving: null };
      void to.settle(idOf(7), free, { holder: "other" }).then(wake);
      return () => undefined;
    };
    const waiting = { ...world, clock: { ...realWorld.clock, after } };
    expect((await run(from, to, waiting)).stopped).toBe("another move into /to is at work");
    expect((await from.getInfo()).states).toMatchObject({ incoming: 1, deferred: 1, hold: 0 });
    await landed(idOf(8), Date.now() + 200);
    const report = await run(from, to, world);
    expect(report.resumed).toBe(1);
    expect(await to.get(idOf(8))).not.toHaveProperty("moving");
    await to.close();
  });
});
