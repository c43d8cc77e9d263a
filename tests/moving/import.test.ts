/** The queues of python-slimta, on disk and in Redis, as Python's own pickle module writes them. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { realWorld } from "../../src/lib/world.ts";
import { type ImportParts, importMail } from "../../src/moving/import.ts";
import type { ImportSource } from "../../src/moving/imported.ts";
import { slimtaDisk } from "../../src/moving/slimta-disk.ts";
import { slimtaRedis } from "../../src/moving/slimta-redis.ts";
import { connect } from "../../src/storage/redis/connection.ts";
import { readRedisUrl } from "../../src/storage/redis/redis-url.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { faultyStorage } from "../support/faulty-storage.ts";
import { describeWithPeers } from "../support/peers.ts";
import { startRedis } from "../support/redis.ts";
import { tempDir } from "../support/temp-dir.ts";
import { everythingIn, keptStore } from "./fixture.ts";
import { pickles } from "./python.ts";

let runs = 0;

function run(from: ImportSource, storage: QueueStorage, given: Partial<ImportParts> = {}) {
  runs += 1;
  const { clock } = realWorld;
  const to = { storage, name: "/to" };
  const signal = new AbortController().signal;
  const parts = { from, to, clock, signal, remove: false, dryRun: false };
  return importMail({ ...parts, holder: `run-${runs}`, onProgress: () => undefined, ...given });
}

const MADE = pickles(`
keep("a", envelope(message=b".dot\\r\\nno end"), [4])
keep("am", {"timestamp": 1700000100.5, "attempts": 2}, [4])
keep("b", envelope(to=("one@x", "two@x", "three@x"), timestamp=1700000001.0), [2])
keep("bm", {"timestamp": 1700000200.0, "attempts": 3, "delivered_indexes": {0, 2}}, [2])
keep("c", envelope(timestamp=1700000002.0, sender=None), [5])
keep("d", envelope(timestamp=1700000003.0), [5])
keep("all", {0, 1}, [5])
keep("dm", {"timestamp": 1700000200.0, "attempts": 3, "delivered_indexes": {0, 1}}, [5])
keep("evil", Evil((os.system, ("true",))), [4])
keep("stranger", {"not": "an envelope"}, [4])
keep("news", (1700000000.0, "0a"), [4])
`);

const pickle = async (name: string): Promise<Uint8Array> =>
  (await MADE).get(name) ?? Promise.reject(new Error(name));

/** A queue on disk with two good messages, one without and one with a broken .meta, and all that can be wrong. */
async function parentsDisk() {
  const dir = tempDir("import");
  const [envDir, metaDir] = [dir.join("env"), dir.join("meta")];
  for (const each of [envDir, metaDir]) mkdirSync(each);
  const put = async (path: string, bytes: Uint8Array) => writeFile(dir.join(path), bytes);
  await put("env/0a.env", await pickle("a-4"));
  await put("meta/0a.meta", await pickle("am-4"));
  await put("env/0b.env", await pickle("b-2"));
  await put("meta/0b.meta", await pickle("bm-2"));
  await put("env/0c.env", await pickle("c-5"));
  await put("meta/0c.meta", new Uint8Array(0));
  await put("env/0d.env", await pickle("d-5"));
  await put("env/done.env", await pickle("d-5"));
  await put("meta/done.meta", await pickle("dm-5"));
  await put("env/cut.env", (await pickle("a-4")).subarray(0, 100));
  await put("env/empty.env", new Uint8Array(0));
  await put("env/evil.env", await pickle("evil-4"));
  await put("env/stranger.env", await pickle("stranger-4"));
  mkdirSync(dir.join("env/folder.env"));
  await put("env/tmpabc", new Uint8Array(9));
  await put("meta/gone.meta", await pickle("am-4"));
  const source = slimtaDisk({ name: "old", envDir, metaDir, clock: realWorld.clock });
  return { dir, source, envDir, metaDir, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() };
}

const LEFT = ["cut", "empty", "evil", "folder", "stranger"];

describeWithPeers(["smtplib"], "python-slimta's queue on disk", () => {
  test("is taken with times, attempts and what was delivered; each damaged file is named", async () => {
    await using old = await parentsDisk();
    const storage = keptStore(realWorld).open();
    const before = Date.now();
    const report = await run(old.source, storage);
    expect(report).toMatchObject({ moved: 4, gone: 1, left: 5, known: 0 });
    expect(report.stopped).toBeUndefined();
    expect(report.leftNames.map(({ id }) => id).sort()).toEqual(LEFT);
    expect(report.notes.map(({ id }) => id).sort()).toEqual(["0c", "0d"]);
    const [a, b, c] = await everythingIn(storage);
    expect(a).toMatchObject({ attempts: 2, due: 1_700_000_100_500, state: "deferred" });
    expect(a?.text).toBe("Subject: hi\r\n there\r\nX: y\r\n\r\n.dot\r\nno end");
    expect(b).toMatchObject({ attempts: 3, due: 1_700_000_200_000 });
    expect(b?.envelope.recipients).toEqual([{ index: 1, address: "two@x" }]);
    expect(b?.original.map(({ address }) => address)).toEqual(["one@x", "two@x", "three@x"]);
    expect(c).toMatchObject({ attempts: 0, state: "incoming" });
    expect(c?.envelope).toMatchObject({ sender: "", receivedAt: 1_700_000_002_000 });
    expect(c?.due).toBeGreaterThanOrEqual(before);
    expect(readdirSync(old.envDir)).toHaveLength(11);
  });

  test("is not taken twice while it is here, and not at all by a dry run", async () => {
    await using old = await parentsDisk();
    const storage = keptStore(realWorld).open();
    expect(await run(old.source, storage, { dryRun: true })).toMatchObject({ moved: 4, left: 5 });
    expect((await storage.getInfo()).size).toBe(0);
    await run(old.source, storage);
    const whole = await everythingIn(storage);
    const again = await run(old.source, storage, { dryRun: false, remove: true });
    expect(again).toMatchObject({ moved: 0, known: 4, gone: 1, left: 5 });
    expect(await everythingIn(storage)).toEqual(whole);
    expect(readdirSync(old.envDir).sort()).toEqual([
      ...LEFT.map((name) => `${name}.env`),
      "tmpabc",
    ]);
    expect(readdirSync(old.metaDir)).toEqual(["gone.meta"]);
  });

  test("with --remove nothing comes twice, wherever a run is broken off", async () => {
    for (const operation of ["write", "settle"] as const) {
      for (const isAfter of [false, true]) {
        await using old = await parentsDisk();
        for (const name of LEFT) rmSync(`${old.envDir}/${name}.env`, { recursive: true });
        const kept = keptStore(realWorld);
        const faulty = faultyStorage(kept.open());
        if (isAfter) faulty.failAfter(operation);
        else faulty.fail(operation);
        const broken = await run(old.source, faulty.storage, { remove: true, atOnce: 1 });
        expect(broken.stopped).toContain("EIO");
        const states = (await kept.open().getInfo()).states;
        // Only what the last step was done of may be delivered.
        const isFreed = operation === "settle" && isAfter;
        expect(states.incoming + states.deferred).toBe(isFreed ? 1 : 0);
        const freed = (await kept.open().list({ limit: 9 })).filter(
          ({ state }) => state !== "hold",
        );
        for (const { id } of freed) await kept.open().remove(id);
        const report = await run(old.source, kept.open(), { remove: true });
        expect(report.stopped).toBeUndefined();
        const all = await everythingIn(kept.open());
        expect(all.length + freed.length).toBe(4);
        expect(all.every(({ state }) => state !== "hold")).toBe(true);
        expect(existsSync(`${old.envDir}/0a.env`)).toBe(false);
      }
    }
  });

  test("a directory that is not there ends the import", async () => {
    const storage = keptStore(realWorld).open();
    const missing = { envDir: "/does/not/exist", metaDir: "/does/not/exist" };
    const source = slimtaDisk({ name: "old", ...missing, clock: realWorld.clock });
    expect((await run(source, storage)).stopped).toContain("ENOENT");
  });
});

test("times and counts that nobody can have meant are those of a message that was never tried", async () => {
  await using dir = tempDir("import");
  const made = await pickles(`
keep("old", envelope(timestamp=None), [4])
keep("wild", envelope(timestamp=1e300), [4])
keep("good", {"timestamp": 1700000200.0, "attempts": 10**30}, [4])
keep("never", {"timestamp": 1e306, "attempts": 3}, [4])`);
  for (const [name, meta] of [
    ["old", "good"],
    ["wild", "never"],
  ]) {
    await writeFile(dir.join(`${name}.env`), made.get(`${name}-4`) ?? "");
    await writeFile(dir.join(`${name}.meta`), made.get(`${meta}-4`) ?? "");
  }
  const [envDir, metaDir] = [dir.path, dir.path];
  const source = slimtaDisk({ name: "old", envDir, metaDir, clock: realWorld.clock });
  const storage = keptStore(realWorld).open();
  const startedAt = Date.now();
  const report = await run(source, storage);
  expect(report).toMatchObject({ moved: 2, notes: [{ id: "wild" }] });
  const messages = await storage.list({ limit: 9 });
  const old = messages.find(({ due }) => due === 1_700_000_200_000);
  // It lives on from its next attempt: from 1970 on it would be over at once.
  expect(old).toMatchObject({ receivedAt: 1_700_000_200_000, attempts: 1_000_000 });
  const wild = messages.find((message) => message !== old);
  expect(wild?.receivedAt).toBeGreaterThanOrEqual(startedAt);
  expect(wild).toMatchObject({ attempts: 0, due: wild?.receivedAt });
});

test("large messages are in memory one at a time, small ones many", async () => {
  for (const [size, most] of [
    [2 ** 21, 1],
    [100, 16],
  ] as const) {
    let now = 0;
    let peak = 0;
    const read = async () => {
      now += 1;
      peak = Math.max(peak, now);
      await new Promise((resolve) => setImmediate(resolve));
      now -= 1;
      return undefined;
    };
    const item = (name: string) => ({ name, size: async () => size, read, remove: async () => {} });
    const items = async function* () {
      for (let index = 0; index < 40; index += 1) yield item(String(index));
    };
    const report = await run({ name: "old", items }, keptStore(realWorld).open());
    expect(report).toMatchObject({ gone: 40 });
    expect(peak).toBe(most);
  }
});

describeWithPeers(["smtplib", "redis-server"], "python-slimta's queue in Redis", () => {
  test("is taken by a walk over its keys, whatever else is there", async () => {
    await using server = await startRedis();
    const address = readRedisUrl(server.url());
    if (address === undefined) throw new Error(server.url());
    const connection = await connect(address, { clock: realWorld.clock, silenceMs: 5000 });
    try {
      const hash = async (key: string, fields: Record<string, string | Uint8Array>) =>
        connection.command("hset", [key, ...Object.entries(fields).flat()]);
      const times = { timestamp: "1700000100.5", attempts: "2" };
      await hash("slimta:0a", { envelope: await pickle("a-4"), ...times });
      const marks = await pickle("all-5");
      await hash("slimta:0b", {
        envelope: await pickle("b-2"),
        ...times,
        delivered_indexes: marks,
      });
      await hash("slimta:0c", { envelope: await pickle("c-5") });
      await hash("slimta:0d", {
        envelope: await pickle("d-5"),
        ...times,
        delivered_indexes: "damaged",
      });
      await hash("slimta:done", {
        envelope: await pickle("a-4"),
        ...times,
        delivered_indexes: marks,
      });
      await hash("slimta:ended", { timestamp: "1.0" });
      await hash("slimta:evil", { envelope: await pickle("evil-4"), ...times });
      await hash("other:0a", { envelope: await pickle("a-4") });
      await connection.command("set", ["slimta:text", "x"]);
      await connection.command("rpush", ["slimta:queue", await pickle("news-4")]);
      for (let index = 0; index < 2000; index += 1)
        await connection.command("set", [`x:${index}`, 1]);

      const storage = keptStore(realWorld).open();
      const options = { name: "old", connection, prefix: "slimta:", clock: realWorld.clock };
      const report = await run(slimtaRedis(options), storage, { remove: true });
      expect(report).toMatchObject({ moved: 4, gone: 2, left: 2 });
      expect(report.stopped).toBeUndefined();
      expect(report.leftNames.map(({ id }) => id).sort()).toEqual(["evil", "text"]);
      expect(report.notes.map(({ id }) => id).sort()).toEqual(["0c", "0d"]);
      const [a, b] = await everythingIn(storage);
      expect(a).toMatchObject({ attempts: 2, due: 1_700_000_100_500 });
      expect(b?.envelope.recipients.map(({ address: to }) => to)).toEqual(["three@x"]);
      const left = (await connection.command("keys", ["slimta:*"])) as string[];
      expect(left.sort()).toEqual(["slimta:evil", "slimta:queue", "slimta:text"]);
      expect(await connection.command("exists", ["other:0a"])).toBe(1);
      expect(await connection.command("exists", ["slimta:0a"])).toBe(0);
    } finally {
      connection.close();
    }
  });
});
