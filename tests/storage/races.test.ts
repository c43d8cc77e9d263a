import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { LostLeaseError, NotFoundError } from "../../src/storage/storage.ts";
import { openSpool } from "./disk-fixture.ts";
import { bytesOf, envelope, idOf } from "./fixtures.ts";
import { failingFiles, watchedFiles } from "./watched-files.ts";

const BOUNCED = { attempts: 1, recipients: [{ index: 0, status: "bounced" as const }] };
const bounces = [{ id: idOf(9), envelope: envelope({ sender: "" }) }];
const MINUTE = 60_000;

/** Calls `meanwhile` once, in the middle of the first commit after it was armed. */
function interrupted() {
  let meanwhile: (() => void) | undefined;
  const files = watchedFiles(({ name }) => {
    if (name !== "syncDirectory" || meanwhile === undefined) return;
    const run = meanwhile;
    meanwhile = undefined;
    run();
  });
  return {
    files,
    arm(run: () => void) {
      meanwhile = run;
    },
  };
}

describe("what happens while a commit is on its way", () => {
  test("a lease that ends meanwhile leaves a message that somebody can lease", async () => {
    const disk = interrupted();
    await using spool = await openSpool({ files: disk.files });
    const { storage, world } = spool;
    const now = world.clock.now();
    disk.arm(() => {
      world.advance(MINUTE);
      void storage.nextDue();
    });
    await storage.write([envelope()], now, { lease: { holder: "me", until: now + 1 } });
    const leases = await storage.lease(now + MINUTE, 9, {
      holder: "other",
      until: now + 2 * MINUTE,
    });
    expect(leases.length).toBe(1);
  });

  test("a settlement that a bounce carries keeps its lease until it has landed", async () => {
    const disk = interrupted();
    await using spool = await openSpool({ files: disk.files });
    const { storage, world } = spool;
    const now = world.clock.now();
    const [id = ""] = await storage.write([envelope({ to: ["a@x", "b@x"] })], now);
    await storage.lease(now, 1, { holder: "me", until: now + 1 });
    let others: Promise<readonly unknown[]> | undefined;
    disk.arm(() => {
      world.advance(MINUTE);
      others = storage.lease(world.clock.now(), 9, { holder: "other", until: now + 5 * MINUTE });
    });
    await storage.settle(id, { ...BOUNCED, due: now + 9 * MINUTE }, { holder: "me", bounces });
    expect(await others).toEqual([]);
    expect(await storage.get(id)).toMatchObject({ attempts: 1, state: "deferred" });
  });

  test("an operator's removal and hold come behind it", async () => {
    const disk = interrupted();
    await using spool = await openSpool({ files: disk.files });
    const { storage, world } = spool;
    const [id = ""] = await storage.write([envelope()], world.clock.now());
    let removed: Promise<void> | undefined;
    let held: Promise<unknown> | undefined;
    disk.arm(() => {
      removed = storage.remove(id);
      held = storage.setHeld(id, true).catch((error: unknown) => error);
    });
    await storage.settle(id, BOUNCED, { bounces });
    await removed;
    expect(await held).toBeInstanceOf(NotFoundError);
    expect((await storage.list({ limit: 9 })).map((one) => one.id)).toEqual([idOf(9)]);
  });

  test("an operator's bounce does not take the lease of who is delivering", async () => {
    await using spool = await openSpool();
    const { storage, world } = spool;
    const now = world.clock.now();
    const [id = ""] = await storage.write([envelope({ to: ["a@x", "b@x"] })], now);
    await storage.lease(now, 1, { holder: "me", until: now + MINUTE });
    await storage.settle(id, { ...BOUNCED, due: now }, { bounces });
    await storage.settle(id, { attempts: 2 }, { holder: "me" });
    await expect(storage.settle(id, {}, { holder: "me" })).rejects.toThrow(LostLeaseError);
  });
});

describe("a settlement that a bounce carries, behind a crash", () => {
  test("is made also when it counts no attempt, as an operator's", async () => {
    await using spool = await openSpool();
    const [id = ""] = await spool.storage.write([envelope()], 1);
    await spool.storage.getInfo();
    await spool.storage.close();
    for (const name of ["queue.db", "queue.db-wal"]) {
      if (fs.existsSync(spool.join(name)))
        fs.copyFileSync(spool.join(name), spool.join(`${name}.old`));
    }
    const storage = await spool.reopen();
    await storage.settle(id, { ...BOUNCED, attempts: 0 }, { bounces });
    await storage.close();
    fs.rmSync(spool.join("queue.db-wal"), { force: true });
    fs.renameSync(spool.join("queue.db.old"), spool.join("queue.db"));
    const again = await spool.reopen();
    expect((await again.list({ limit: 9 })).map((one) => one.id)).toEqual([idOf(9)]);
  });
});

describe("compaction", () => {
  test("gives space back, keeps every byte, and ends also when a segment cannot be emptied", async () => {
    await using spool = await openSpool();
    const { storage } = spool;
    const text = (index: number) => `Subject: ${index}\r\n\r\n${"x".repeat(8000)}`;
    for (let round = 0; round < 120; round += 1) {
      const ids = [0, 1, 2, 3].map((offset) => idOf(round * 4 + offset));
      await storage.write(
        ids.map((_, offset) => envelope({ text: text(round * 4 + offset) })),
        1,
        { ids },
      );
    }
    const kept = Array.from({ length: 120 }, (_, round) => idOf(round * 4));
    await Promise.all(
      Array.from({ length: 480 }, (_, index) => index)
        .filter((index) => index % 4 > 0)
        .map((index) => storage.remove(idOf(index))),
    );
    const shard = spool.join("content", "00000000");
    const [first = ""] = fs.readdirSync(shard).sort();
    const bytes = fs.readFileSync(`${shard}/${first}`);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    fs.writeFileSync(`${shard}/${first}`, bytes);
    const before = fs.readdirSync(shard).length;
    await storage.compact();
    expect(fs.readdirSync(shard).length).toBeLessThan(before - 40);
    for (const id of kept.slice(1)) {
      const { content } = (await storage.get(id)).envelope;
      expect(Buffer.from(await bytesOf(content)).toString()).toBe(text(Number(id.slice(9))));
    }
    const again = await spool.reopen();
    expect((await again.list({ limit: 999 })).map(({ id }) => id)).toEqual(kept);
  });
});

describe("flush", () => {
  test("changes one row, however many wait", async () => {
    await using spool = await openSpool();
    const { storage, world } = spool;
    await storage.write(
      Array.from({ length: 5000 }, () => envelope()),
      world.clock.now() + MINUTE,
    );
    await storage.getInfo();
    const db = new Database(spool.join("queue.db"));
    db.run("CREATE TABLE changed (name TEXT)");
    db.run(
      "CREATE TRIGGER one AFTER UPDATE ON message BEGIN INSERT INTO changed VALUES ('message'); END",
    );
    db.run(
      "CREATE TRIGGER two AFTER INSERT ON meta BEGIN INSERT INTO changed VALUES (new.key); END",
    );
    expect(await storage.flush()).toBe(5000);
    expect(db.query("SELECT name FROM changed").all()).toEqual([{ name: "epoch" }]);
    db.close();
  });
});

describe("orphans", () => {
  test("are swept behind a start, and nothing else is", async () => {
    const disk = failingFiles();
    await using spool = await openSpool({ files: disk.files });
    const ids = await spool.storage.write([envelope()], 1);
    const more = await spool.storage.write([envelope()], 1);
    disk.fail(
      "EIO",
      ({ name, path }) => /^(?:unlink|status)$/u.test(name) && path.startsWith("content"),
    );
    await spool.storage.remove(ids[0] ?? "");
    await spool.storage.close();
    const shard = spool.join("content", "00000000");
    expect(fs.readdirSync(shard).length).toBe(2);
    const storage = await spool.reopen();
    await storage.sweepOrphans();
    expect(fs.readdirSync(shard).length).toBe(1);
    expect((await storage.get(more[0] ?? "")).id).toBe(more[0] ?? "");
  });
});
