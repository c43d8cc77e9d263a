import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { realFiles, type SpoolFiles } from "../../src/storage/disk/files.ts";
import { fsckSpool } from "../../src/storage/disk/fsck.ts";
import { LockedError } from "../../src/storage/disk/lock.ts";
import { tempDir } from "../support/temp-dir.ts";
import { openSpool, type Spool } from "./disk-fixture.ts";
import { envelope, idOf, testWorld } from "./fixtures.ts";
import { systemError } from "./watched-files.ts";

async function filled(): Promise<Spool> {
  const spool = await openSpool();
  for (let index = 0; index < 4; index += 1) {
    await spool.storage.write(
      [envelope({ text: `Subject: ${index}\r\n\r\n${"x".repeat(500)}\r\n` })],
      1,
      {
        ids: [idOf(index)],
      },
    );
  }
  await spool.storage.incrementAttempts(idOf(1));
  await spool.storage.setHeld(idOf(2), true);
  await spool.storage.close();
  return spool;
}

async function check(spool: Spool, repair = false, files: SpoolFiles = realFiles) {
  const lines: string[] = [];
  const report = await fsckSpool(
    spool.directory,
    { repair },
    { world: testWorld(), files, report: (line) => lines.push(line) },
  );
  return { ...report, text: lines.join("\n") };
}

function segments(spool: Spool): string[] {
  const shard = fs.readdirSync(spool.join("content"))[0] ?? "";
  return fs
    .readdirSync(spool.join("content", shard))
    .sort()
    .map((name) => spool.join("content", shard, name));
}

function flip(path: string, offset: number): void {
  const bytes = fs.readFileSync(path);
  bytes[offset] = (bytes[offset] ?? 0) ^ 0x10;
  fs.writeFileSync(path, bytes);
}

/** Each thing that may be wrong: how it comes to be, what is said of it, and which messages are left after a repair. */
const FINDINGS: readonly {
  readonly name: string;
  readonly harm: (spool: Spool) => void;
  readonly says: RegExp;
  readonly isLeftover?: true;
  readonly left?: readonly number[];
}[] = [
  {
    name: "a damaged body",
    harm: (spool) => flip(segments(spool)[0] ?? "", 100),
    says: /body of message 1M80000000000000 is damaged/u,
    left: [1, 2, 3],
  },
  {
    name: "a damaged envelope",
    harm: (spool) =>
      flip(segments(spool)[1] ?? "", fs.statSync(segments(spool)[1] ?? "").size - 50),
    says: /message 1M80000000000001: the ENVL block/u,
    left: [0, 2, 3],
  },
  {
    name: "a damaged file header",
    harm: (spool) => flip(segments(spool)[1] ?? "", 7),
    says: /its file header is damaged/u,
  },
  {
    name: "a segment that was cut short",
    harm: (spool) => fs.truncateSync(segments(spool)[2] ?? "", 300),
    says: /cut short/u,
    left: [0, 1, 3],
  },
  {
    name: "a segment that is gone",
    harm: (spool) => fs.rmSync(segments(spool)[3] ?? ""),
    says: /message 1M80000000000003: its segment is gone/u,
    left: [0, 1, 2],
  },
  {
    name: "garbage in the place of a segment",
    harm: (spool) => fs.writeFileSync(segments(spool)[3] ?? "", "garbage"),
    says: /no segment of this version/u,
    left: [0, 1, 2],
  },
  {
    name: "an orphan",
    harm: (spool) => {
      const db = new Database(spool.join("queue.db"));
      db.run("UPDATE meta SET value = 100 WHERE key = 'indexed'");
      db.close();
      const path = segments(spool)[3] ?? "";
      fs.copyFileSync(path, path.replace(/\w{2}\.seg$/u, "0Z.seg"));
      fs.chmodSync(path.replace(/\w{2}\.seg$/u, "0Z.seg"), 0o600);
    },
    says: /no message needs it/u,
    isLeftover: true,
  },
  {
    name: "a segment that the database does not know",
    harm: (spool) => {
      const db = new Database(spool.join("queue.db"));
      db.run("UPDATE meta SET value = 3 WHERE key = 'indexed'");
      db.run("UPDATE meta SET value = value - 1 WHERE key = 'incoming'");
      db.run(
        "UPDATE meta SET value = value - (SELECT size FROM message WHERE id LIKE '%3') WHERE key = 'bytes'",
      );
      db.run("DELETE FROM message WHERE id LIKE '%3'");
      db.run("DELETE FROM segment WHERE number = 4");
      db.close();
    },
    says: /the database does not know it/u,
    isLeftover: true,
  },
  {
    name: "files in scratch",
    harm: (spool) => fs.writeFileSync(spool.join("scratch", "77"), "half a message"),
    says: /1 files in .*scratch/u,
    isLeftover: true,
  },
  {
    name: "counts that are wrong",
    harm: (spool) => {
      const db = new Database(spool.join("queue.db"));
      db.run("UPDATE meta SET value = 77 WHERE key IN ('incoming', 'deferred', 'hold', 'bytes')");
      db.run("UPDATE segment SET live = 5, live_bytes = 1 WHERE number = 2");
      db.run("DELETE FROM segment WHERE number = 3");
      db.close();
    },
    says: /count of incoming is 2, not 77/u,
  },
  {
    name: "permissions that let others read",
    harm: (spool) => fs.chmodSync(spool.join("content"), 0o755),
    says: /content may be read by others \(mode 755\)/u,
  },
  {
    name: "a missing database",
    harm: (spool) => fs.rmSync(spool.join("queue.db")),
    says: /queue\.db: it is missing/u,
  },
  {
    name: "a database that is garbage",
    harm: (spool) => fs.writeFileSync(spool.join("queue.db"), "garbage".repeat(1000)),
    says: /queue\.db: .*not a database/u,
  },
];

describe("fsck", () => {
  test("finds nothing in a spool that is in order, and changes nothing", async () => {
    await using spool = await filled();
    expect(await check(spool)).toMatchObject({
      damage: 0,
      leftovers: 0,
      messages: 4,
      segments: 4,
      text: "",
    });
  });

  for (const { name, harm, says, isLeftover, left = [0, 1, 2, 3] } of FINDINGS) {
    test(`finds ${name}, says so, and puts it right`, async () => {
      await using spool = await filled();
      harm(spool);
      const found = await check(spool);
      expect(found.text).toMatch(says);
      if (isLeftover) expect(found).toMatchObject({ damage: 0, repaired: false });
      else expect(found.damage).toBeGreaterThan(0);
      // Looking changes nothing.
      expect((await check(spool)).text).toBe(found.text);

      expect(await check(spool, true)).toMatchObject({ repaired: true });
      expect(await check(spool)).toMatchObject({
        damage: 0,
        leftovers: 0,
        text: "",
        messages: left.length,
      });
      const again = await spool.reopen();
      const all = await again.list({ limit: 9 });
      expect(all.map(({ id }) => id)).toEqual(left.map(idOf));
      const info = await again.getInfo();
      expect(info.size).toBe(left.length);
      if (left.length < 4) expect(info.corrupt).toBeGreaterThan(0);
      for (const { id } of all)
        expect((await again.get(id)).envelope.sender).toBe("sender@example.org");
      await again.close();
    });
  }

  test("leaves a spool alone that is in use", async () => {
    await using spool = await openSpool();
    await expect(check(spool)).rejects.toThrow(LockedError);
  });

  test("says when there is no spool", async () => {
    await using dir = tempDir("fsck");
    const parts = { world: testWorld(), report: () => undefined };
    await expect(fsckSpool(dir.join("none"), { repair: true }, parts)).rejects.toThrow("no spool");
    expect(fs.existsSync(dir.join("none"))).toBe(false);
  });
});

test("what is found again after each repair is not called repaired", async () => {
  await using spool = await filled();
  const [first = ""] = segments(spool);
  flip(first, fs.statSync(first).size - 3);
  const link = () => {
    throw systemError("EPERM");
  };
  const found = await check(spool, true, { ...realFiles, link });
  expect(found).toMatchObject({ repaired: false, messages: 4 });
  expect(await check(spool, true)).toMatchObject({ repaired: true });
});
