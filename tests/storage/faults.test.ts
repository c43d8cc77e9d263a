import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { bodyContent } from "../../src/mail/content.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import type { SpoolFiles } from "../../src/storage/disk/files.ts";
import { CorruptError } from "../../src/storage/storage.ts";
import { openSpool } from "./disk-fixture.ts";
import { envelope, idOf } from "./fixtures.ts";
import { type FileOperation, failingFiles, systemError, watchedFiles } from "./watched-files.ts";

const isData = ({ path }: FileOperation) => /^(?:scratch|content)/u.test(path);
const isWal = ({ path }: FileOperation) => path.endsWith("-wal");

function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
}

/** Everything that a write does to files, and with what a system may refuse it. */
const STEPS: readonly [keyof SpoolFiles, string, number][] = [
  ["create", "ENOSPC", 452],
  ["create", "EROFS", 451],
  ["append", "ENOSPC", 452],
  ["append", "EIO", 451],
  ["syncData", "EIO", 451],
  ["syncData", "EDQUOT", 452],
  ["rename", "EIO", 451],
  ["makeDirectory", "ENOSPC", 452],
  ["syncDirectory", "EIO", 451],
];

describe("a disk that refuses a write (P1, P7)", () => {
  for (const [name, code, answer] of STEPS) {
    test(`${code} on ${name}: ${answer}, nothing left behind, and the next write works`, async () => {
      const disk = failingFiles();
      await using spool = await openSpool({ files: disk.files });
      const { storage } = spool;
      disk.fail(code, (operation) => operation.name === name && isData(operation));
      const refused = Promise.allSettled([
        storage.write([envelope(), envelope()], 1),
        storage.write([envelope()], 1, { ids: [idOf(1)], lease: { holder: "me", until: 1e15 } }),
      ]);
      for (const { status, ...rest } of await refused) {
        expect(status).toBe("rejected");
        const { reason } = rest as { reason: unknown };
        expect(reason).toBeInstanceOf(QueueError);
        expect(reason).toMatchObject({ reply: { code: answer } });
        expect((reason as QueueError).reply?.text).not.toContain(code);
      }
      expect([...filesIn(spool.join("scratch")), ...filesIn(spool.join("content"))]).toEqual([]);
      expect(await storage.list({ limit: 9 })).toEqual([]);
      disk.recover();
      await storage.write([envelope()], 1, { ids: [idOf(1)] });
      const again = await spool.reopen();
      expect((await again.list({ limit: 9 })).map(({ id }) => id)).toEqual([idOf(1)]);
    });
  }

  for (const name of [
    "create",
    "append",
    "appendSlowly",
    "writeAt",
    "syncData",
    "rename",
  ] as const) {
    test(`ENOSPC on ${name} of a streamed body: 452, nothing left behind`, async () => {
      const disk = failingFiles();
      await using spool = await openSpool({ files: disk.files });
      const { storage } = spool;
      disk.fail("ENOSPC", (operation) => operation.name === name && isData(operation));
      const deliver = async () => {
        const sink = await storage.openBody();
        try {
          await sink.write(new Uint8Array(100_000));
          await storage.write([envelope({ content: bodyContent(await sink.end()) })], 1);
        } finally {
          await sink.discard();
        }
      };
      await expect(deliver()).rejects.toMatchObject({ reply: { code: 452 } });
      expect([...filesIn(spool.join("scratch")), ...filesIn(spool.join("content"))]).toEqual([]);
      disk.recover();
      await deliver();
      expect(await storage.getInfo()).toMatchObject({ size: 1, bytes: 100_000 });
    });
  }

  test("a body of a write that failed cannot take a whole group along when it is tried again", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const sink = await spool.storage.openBody();
    await sink.write(new Uint8Array(10));
    const content = bodyContent(await sink.end());
    await spool.storage.write([envelope({ content })], 1);
    const [again, neighbour] = await Promise.allSettled([
      spool.storage.write([envelope({ content })], 1),
      spool.storage.write([envelope()], 1),
    ]);
    expect(again.status).toBe("rejected");
    expect(neighbour.status).toBe("fulfilled");
  });

  test("files that cannot be unlinked do not keep the next write from working", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    disk.fail("EIO", ({ name }) => name === "syncDirectory" || name === "unlink");
    await expect(spool.storage.write([envelope({ sender: "lost@x" })], 1)).rejects.toThrow(
      QueueError,
    );
    disk.recover();
    await spool.storage.write([envelope({ sender: "kept@x" })], 1);
    const again = await spool.reopen();
    // Whoever was told 451 comes again: what is left of the first try is not mail.
    expect((await again.list({ limit: 9 })).map(({ sender }) => sender)).toEqual(["kept@x"]);
  });

  test("one sync that fails is not read as success of its neighbours", async () => {
    let syncs = 0;
    const files = watchedFiles((operation) => {
      if (operation.name === "syncData" && isData(operation)) {
        syncs += 1;
        if (syncs === 2) throw systemError("EIO");
      }
    });
    await using spool = await openSpool({ files });
    const sink = await spool.storage.openBody();
    await sink.write(new Uint8Array(10));
    const content = bodyContent(await sink.end());
    const both = await Promise.allSettled([
      spool.storage.write([envelope()], 1),
      spool.storage.write([envelope({ content })], 1),
    ]);
    expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(await spool.storage.list({ limit: 9 })).toEqual([]);
  });
});

describe("the order of file operations (P1, P3, P5)", () => {
  test("data is synced before the rename, the directory behind it, and only then is a write done", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    disk.seen.length = 0;
    await spool.storage.write([envelope()], 1);
    const steps = disk.seen.map(({ name }) => name);
    const order = ["create", "append", "syncData", "rename", "syncDirectory"] as const;
    expect(steps.filter((name) => (order as readonly string[]).includes(name))).toEqual([
      "create",
      "append",
      "syncData",
      // The directory is new, and so is its name.
      "syncDirectory",
      "rename",
      "syncDirectory",
    ]);
    const [inContent, inShard] = disk.seen.filter(({ name }) => name === "syncDirectory");
    expect(inContent?.path).toEndWith("content");
    expect(inShard?.path).toMatch(/^content\/\w{8}$/u);
  });

  test("the spool's own directories are synced when they are made", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const about = new Set(["makeDirectory", "syncDirectory"]);
    const seen = disk.seen.filter(({ name }) => about.has(name));
    expect(seen.map(({ name, path }) => [name, path])).toEqual([
      ["makeDirectory", spool.directory],
      ["syncDirectory", dirname(spool.directory)],
      ["makeDirectory", "scratch"],
      ["makeDirectory", "content"],
      ["makeDirectory", "corrupt"],
      ["syncDirectory", spool.directory],
    ]);
  });

  test("a settlement waits for the sync of the journal, and files go only behind that", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const [id = ""] = await spool.storage.write([envelope()], 1);
    await spool.storage.getInfo();
    disk.seen.length = 0;
    await spool.storage.remove(id);
    const sync = disk.seen.findIndex(
      (operation) => operation.name === "syncData" && isWal(operation),
    );
    expect(sync).toBeGreaterThanOrEqual(0);
    const isGoing = ({ name, path }: FileOperation) =>
      (name === "unlink" || name === "rename") && path.startsWith("content");
    const gone = disk.seen.findIndex(isGoing);
    expect(gone === -1 || gone > sync).toBe(true);
  });

  test("a segment whose end is not durable keeps its file", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const [id = ""] = await spool.storage.write([envelope()], 1);
    await spool.storage.getInfo();
    disk.fail("EIO", (operation) => operation.name === "syncData" && isWal(operation));
    const removed = spool.storage.remove(id);
    await Promise.race([removed, Bun.sleep(30)]);
    expect(filesIn(spool.join("content")).length).toBe(1);
    disk.recover();
    await removed;
  });
});

describe("a database that cannot be written (P7)", () => {
  test("settlements wait, new mail is refused, and both go on when it recovers", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const { storage, events } = spool;
    const [id = ""] = await storage.write([envelope()], 1);
    disk.fail("EIO", (operation) => operation.name === "syncData" && isWal(operation));
    let settled = false;
    const settling = storage.settle(id, { attempts: 1, due: 5 }).then(() => {
      settled = true;
    });
    while (storage.refusal() === undefined) await Bun.sleep(1);
    expect(settled).toBe(false);
    await expect(storage.probe()).rejects.toThrow(QueueError);
    // What is known is known, though nobody may count on it yet.
    expect(await storage.get(id)).toMatchObject({ attempts: 1 });
    disk.recover();
    await settling;
    while (storage.refusal() !== undefined) await Bun.sleep(1);
    await storage.probe();
    const states = events.flatMap((event) => (event.kind === "storage" ? [event.state] : []));
    expect(states).toEqual(["failing", "recovered"]);
  });

  test("a probe asks whether the disk takes a sync, and leaves nothing", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const isProbe = ({ name, path }: FileOperation): boolean =>
      name === "syncData" && path.startsWith("scratch/");
    disk.fail("EIO", isProbe);
    await expect(spool.storage.probe()).rejects.toThrow("the spool cannot be written");
    disk.recover();
    await spool.storage.probe();
    expect(disk.seen.filter(isProbe)).toHaveLength(2);
    expect(readdirSync(spool.join("scratch"))).toEqual([]);
  });

  test("a sync that failed is made good before anything counts as durable", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const [id = ""] = await spool.storage.write([envelope()], 1);
    let failures = 1;
    disk.fail(
      "EIO",
      (operation) => operation.name === "syncData" && isWal(operation) && failures-- > 0,
    );
    await spool.storage.settle(id, { attempts: 1, due: 5 });
    // The system may have thrown the pages away that it could not write: they are in the database itself by now.
    const { Database } = await import("bun:sqlite");
    const raw = await Bun.file(spool.join("queue.db")).bytes();
    const db = Database.deserialize(walOff(raw));
    expect(db.query("SELECT attempts FROM message").get()).toEqual({ attempts: 1 });
    db.close();
  });

  test("closing does not wait for it, and whoever waits is told", async () => {
    const disk = failingFiles();
    const spool = await openSpool({ files: disk.files });
    const [id = ""] = await spool.storage.write([envelope()], 1);
    disk.fail("EIO", (operation) => operation.name === "syncData" && isWal(operation));
    const settling = spool.storage.settle(id, { attempts: 1 });
    const compacting = spool.storage.compact();
    const told = settling.catch((error: unknown) => error);
    while (spool.storage.refusal() === undefined) await Bun.sleep(1);
    await spool.storage.close();
    expect(await told).toBeInstanceOf(QueueError);
    await compacting;
    await spool[Symbol.asyncDispose]();
  });

  test("a flush that the database refuses changes nothing", async () => {
    await using spool = await openSpool();
    const { storage, world } = spool;
    const now = world.clock.now();
    await storage.write([envelope()], now + 1000);
    const { Database } = await import("bun:sqlite");
    const other = new Database(spool.join("queue.db"));
    other.run("PRAGMA busy_timeout = 0");
    await storage.getInfo();
    other.run(
      "CREATE TRIGGER refuse BEFORE INSERT ON meta WHEN new.key = 'epoch' BEGIN SELECT raise(ABORT, 'no'); END",
    );
    await expect(storage.flush()).rejects.toThrow(QueueError);
    other.run("DROP TRIGGER refuse");
    other.close();
    await storage.write([envelope()], now);
    const again = await spool.reopen();
    // A row of an epoch that the database never heard of would wait for ever.
    const leases = await again.lease(now, 9, { holder: "me", until: now + 1 });
    expect(leases.length).toBe(1);
  });
});

/** The same database, marked as one without a write-ahead file, so that it can be looked at alone. */
function walOff(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[18] = 1;
  copy[19] = 1;
  return copy;
}

describe("a disk that cannot take what is moved aside (P6, P7)", () => {
  for (const name of ["link", "create", "append", "syncData", "rename", "syncDirectory"] as const) {
    test(`${name}: the damaged message stays in the queue until it can`, async () => {
      const disk = failingFiles();
      await using spool = await openSpool({ files: disk.files });
      const { storage } = spool;
      const [id = ""] = await storage.write([envelope({ text: "Subject: x\r\n\r\nthe body" })], 1);
      damage(spool.join("content"), "the body");
      disk.fail("ENOSPC", (operation) => operation.name === name);
      await expect(storage.get(id)).rejects.toThrow("cannot be moved aside");
      expect(await storage.getInfo()).toMatchObject({ size: 1, corrupt: 0 });
      disk.recover();
      await expect(storage.get(id)).rejects.toThrow(CorruptError);
      expect(await storage.getInfo()).toMatchObject({ size: 0, corrupt: 1 });
      const note = JSON.parse(readFileSync(spool.join("corrupt", `${id}.json`), "utf8"));
      expect(readFileSync(note.segment, "latin1")).toContain("the bodz");
    });
  }
});

/** Changes the last letter of a text that is somewhere below a directory. */
function damage(directory: string, text: string): void {
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = `${entry.parentPath}/${entry.name}`;
    const bytes = readFileSync(path, "latin1").replace(text, `${text.slice(0, -1)}z`);
    writeFileSync(path, bytes, "latin1");
  }
}
