/** Mail moves between stores by the executable, which is killed on the way. */
import { expect, test } from "bun:test";
import { chownSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { realWorld } from "../../src/lib/world.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { everythingIn, fill } from "../moving/fixture.ts";
import { pickles } from "../moving/python.ts";
import { envelope, idOf } from "../storage/fixtures.ts";
import { openStore } from "../storage/redis-fixture.ts";
import { productCommand, runProduct, startDaemon } from "../support/binary.ts";
import { startChild } from "../support/child.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { QUICK } from "./help.ts";

const COUNT = 300;
const TIMEOUT_MS = 120_000;

async function onDisk<T>(
  directory: string,
  work: (storage: QueueStorage) => Promise<T>,
): Promise<T> {
  const options = { directory, freshBytesMax: 0, freeBytesMin: 0, freePercentMin: 0 };
  const storage = await openDiskStorage(options, { world: realWorld, emit: () => undefined });
  try {
    return await work(storage);
  } finally {
    await storage.close();
  }
}

/** Mail of every kind, and one message that is streamed. */
async function fillWell(storage: QueueStorage): Promise<void> {
  await fill(storage, COUNT);
  const sink = await storage.openBody();
  for (let part = 0; part < 20; part += 1) await sink.write(new Uint8Array(100_000).fill(part));
  const content = {
    prefix: new TextEncoder().encode("Subject: x\r\n\r\n"),
    body: await sink.end(),
  };
  await storage.write([envelope({ content })], 12_345, { ids: [idOf(COUNT + 1)] });
}

const free = async (storage: QueueStorage): Promise<readonly string[]> =>
  (await storage.list({ limit: 2 * COUNT }))
    .filter(({ state }) => state !== "hold")
    .map(({ id }) => id);

function transferring(from: string, to: string) {
  const flags = ["--set", "spool.free_min=0", "--set", "spool.free_min_percent=0"];
  return startChild([...productCommand(), "transfer", "--from", from, "--to", to, ...flags]);
}

/** Runs a transfer and kills it when as many messages as said are in Redis, on their way in or out. */
async function killed(
  from: string,
  to: string,
  redis: QueueStorage,
  isThere: (size: number) => boolean,
) {
  const child = transferring(from, to);
  await until("some of it has moved", async () => isThere((await redis.getInfo()).size), 60_000);
  child.kill("SIGKILL");
  // A machine that is quick enough was at its end before.
  expect([0, 137]).toContain(await child.exited);
}

/** Brings it to its end as an operator does: a server that a busy machine keeps waiting stops it, and it goes on. */
async function whole(from: string, to: string): Promise<string> {
  const outputs: string[] = [];
  for (let tries = 0; tries < 5; tries += 1) {
    const child = transferring(from, to);
    const code = await child.exited;
    outputs.push(child.output());
    if (code === 0) return child.output();
    expect(code, child.output()).toBe(75);
  }
  throw new Error(outputs.join("\n"));
}

describeWithPeers(["redis-server"], "transfer", () => {
  test(
    "from a directory to Redis and back, killed on each way, loses, doubles and changes nothing",
    async () => {
      await using dir = tempDir("moving");
      await using server: RedisServer = await startRedis();
      const [spool, url] = [dir.join("spool"), server.url()];
      await onDisk(spool, fillWell);
      const before = await onDisk(spool, everythingIn);
      const redis = await openStore(url);
      try {
        await killed(spool, url, redis, (size) => size > 0);
        const mayGo = [...(await onDisk(spool, free)), ...(await free(redis))];
        expect(new Set(mayGo).size).toBe(mayGo.length);
        expect(await whole(spool, url)).toMatch(/: \d+ moved/u);
        // On a busy machine a lease of the run may be over before its message is free: it ends when a node looks.
        await redis.nextDue();
        expect(await everythingIn(redis)).toEqual(before);

        await killed(url, spool, redis, (size) => size < COUNT);
        const mayReturn = [...(await onDisk(spool, free)), ...(await free(redis))];
        expect(new Set(mayReturn).size).toBe(mayReturn.length);
        await whole(url, spool);
        expect((await redis.getInfo()).size).toBe(0);
        expect(await onDisk(spool, everythingIn)).toEqual(before);
      } finally {
        await redis.close();
      }
    },
    TIMEOUT_MS,
  );

  test("says what is wrong with the stores, and with which code", async () => {
    await using dir = tempDir("moving");
    await using server = await startRedis({ args: ["--requirepass", "hush-word"] });
    const spool = dir.join("spool");
    const moving = async (from: string, to: string, ...more: readonly string[]) => {
      const ran = await runProduct(["transfer", "--from", from, "--to", to, ...more]);
      expect(ran.output).not.toContain("-word");
      return ran;
    };
    const missing = await moving(spool, dir.join("other"));
    expect(missing).toMatchObject({ code: 64 });
    expect(missing.output).toContain("there is no queue in");
    await onDisk(spool, (storage) => fill(storage, 3));
    expect((await moving(spool, spool)).code).toBe(64);
    expect((await moving(spool, "memory:")).code).toBe(78);
    const unknown = await moving(spool, "ftp://x");
    expect(unknown).toMatchObject({ code: 78 });
    expect(unknown.output).toContain("cannot move mail: --to is no store; give ");
    expect((await moving(spool, server.url().replace("//", "//:wrong-word@"))).code).toBe(78);
    if (process.getuid?.() === 0) {
      chownSync(`${spool}/queue.db`, 65_534, 65_534);
      const foreign = await moving(spool, dir.join("other"));
      expect(foreign.code).toBe(78);
      expect(foreign.output).toContain("run this as that user");
      chownSync(`${spool}/queue.db`, 0, 0);
    }
    const counted = await moving(spool, dir.join("other"), "--dry-run", "--json");
    expect(counted.code).toBe(0);
    expect(JSON.parse(counted.output)).toMatchObject({ size: 3, states: { hold: 1 } });
    await using daemon = await startDaemon({ spool, args: QUICK });
    const busy = await moving(spool, dir.join("other"));
    expect(busy.code).toBe(75);
    expect(busy.output).toContain(`in use by process ${daemon.pid}`);
    expect(busy.output).toContain("stop the daemon first");
  });

  test("that was broken off leaves mail that an operator sees, and frees by name only", async () => {
    await using dir = tempDir("moving");
    const spool = dir.join("spool");
    await onDisk(spool, async (storage) => {
      await fill(storage, 3);
      const moving = { from: "mx:/spool", to: "redis://store", held: false };
      await storage.settle(idOf(1), { held: true, moving });
    });
    const relay = ["--relay", "smtp://127.0.0.1:1"];
    await using daemon = await startDaemon({ spool, args: [...QUICK, ...relay] });
    const queue = async (...args: readonly string[]) => {
      const flags = ["--admin", `127.0.0.1:${daemon.adminPort}`, "--set", "admin.socket=off"];
      return await runProduct(["queue", ...args, ...flags]);
    };
    expect((await queue("release", "--all")).output).toContain("released 1 message");
    const shown = await queue("show", idOf(1));
    expect(shown.output).toMatch(/moving +from mx:\/spool to redis:\/\/store/u);
    expect(shown.output).toMatch(/state +hold/u);
    expect((await queue("release", idOf(1))).code).toBe(0);
    expect((await queue("show", idOf(1))).output).not.toMatch(/state +hold/u);
  });

  test(
    "that fills the target stops, and goes on when there is room",
    async () => {
      await using dir = tempDir("moving");
      await using server = await startRedis({ args: ["--maxmemory", "4mb"] });
      const spool = dir.join("spool");
      await onDisk(spool, async (storage) => {
        for (let index = 1; index <= 60; index += 1) {
          const text = `Subject: x\r\n\r\n${"x".repeat(100_000)}`;
          await storage.write([envelope({ text })], index, { ids: [idOf(index)] });
        }
      });
      const before = await onDisk(spool, everythingIn);
      const full = transferring(spool, server.url());
      expect(await full.exited, full.output()).toBe(75);
      expect(full.output()).toContain("out of memory");
      expect(full.output()).toContain("run it again");
      expect(full.output()).not.toContain("halfway");
      expect((await onDisk(spool, (storage) => storage.getInfo())).states.hold).toBe(0);
      await server.cli("config", "set", "maxmemory", "0");
      await whole(spool, server.url());
      const redis = await openStore(server.url());
      expect(await everythingIn(redis)).toEqual(before);
      await redis.close();
    },
    TIMEOUT_MS,
  );
});

describeWithPeers(["smtplib"], "import", () => {
  test("takes over python-slimta's directory and names what it could not read", async () => {
    await using dir = tempDir("moving");
    for (const each of ["env", "meta"]) mkdirSync(dir.join(each));
    const made = await pickles(`
keep("e", envelope(), [5])
keep("m", {"timestamp": 1700000100.0, "attempts": 2}, [5])`);
    writeFileSync(dir.join("env/aa.env"), made.get("e-5") ?? "");
    writeFileSync(dir.join("meta/aa.meta"), made.get("m-5") ?? "");
    writeFileSync(dir.join("env/bad.env"), "cos\nsystem\n(S'true'\ntR.");
    const places = ["--env-dir", dir.join("env"), "--meta-dir", dir.join("meta")];
    const target = ["--to", dir.join("spool"), "--set", "spool.free_min=0"];
    const flags = [...places, ...target, "--set", "spool.free_min_percent=0", "--remove"];
    const dry = await runProduct(["import", "slimta-disk", ...flags, "--dry-run"]);
    expect(dry.output).toContain("(dry run): 1 moved, 1 left");
    expect(existsSync(dir.join("spool"))).toBe(false);
    const redis = ["slimta-redis", "redis://127.0.0.1:1/0?prefix=mine", "--to", "/s"];
    const unsaid = await runProduct(["import", ...redis]);
    expect(unsaid).toMatchObject({ code: 78 });
    expect(unsaid.output).toContain("--prefix");
    const ran = await runProduct(["import", "slimta-disk", ...flags]);
    expect(ran.code, ran.output).toBe(65);
    expect(ran.output).toContain("bad: its envelope cannot be read: it names os.system");
    expect(ran.output).toContain("1 moved, 1 left");
    const [message] = await onDisk(dir.join("spool"), everythingIn);
    expect(message).toMatchObject({ attempts: 2, due: 1_700_000_100_000 });
  });
});
