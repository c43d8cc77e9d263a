import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { exitCodeOf, startError } from "../../src/app/start-error.ts";
import { bodyContent, bytesContent } from "../../src/mail/content.ts";
import { fsckSpool } from "../../src/storage/disk/fsck.ts";
import { LockedError } from "../../src/storage/disk/lock.ts";
import { CorruptError, NotFoundError } from "../../src/storage/storage.ts";
import { startChild } from "../support/child.ts";
import { openSpool, type Spool } from "./disk-fixture.ts";
import { bytesOf, envelope, idOf, testWorld } from "./fixtures.ts";
import { systemError, watchedFiles } from "./watched-files.ts";

function segments(spool: Spool): string[] {
  const shard = fs.readdirSync(spool.join("content"))[0] ?? "";
  const names = fs.readdirSync(spool.join("content", shard)).sort();
  return names.map((name) => spool.join("content", shard, name));
}

function change(path: string, alter: (bytes: Uint8Array) => Uint8Array): void {
  fs.writeFileSync(path, alter(fs.readFileSync(path)));
}

function flip(path: string, offset: number): void {
  change(path, (bytes) => {
    bytes[offset] = (bytes[offset] ?? 0) ^ 0x01;
    return bytes;
  });
}

/** Makes the next start take the segments for unknown, as after a crash in the instant behind the rename. */
function forget(spool: Spool): void {
  for (const name of ["queue.db", "queue.db-wal"]) fs.rmSync(spool.join(name), { force: true });
}

async function three(spool: Spool): Promise<void> {
  for (const number of [0, 1, 2]) {
    await spool.storage.write(
      [envelope({ text: `Subject: ${number}\r\n\r\nbody ${number}\r\n` })],
      1,
      {
        ids: [idOf(number)],
      },
    );
  }
}

/** A disk that cannot read this segment. */
function unreadable(path: string) {
  let opened = "";
  return watchedFiles((operation) => {
    if (operation.name === "openForRead") opened = operation.path;
    const isHere = path.endsWith(opened) && opened.endsWith(".seg");
    if (operation.name === "readAt" && isHere) throw systemError("EIO");
  });
}

const ids = async (spool: Spool) => (await spool.storage.list({ limit: 99 })).map(({ id }) => id);
const corruptEvents = (spool: Spool) => spool.events.filter(({ kind }) => kind === "corrupt");

describe("a damaged record (P6)", () => {
  test("is moved aside, counted and told when it is read; the others flow", async () => {
    await using spool = await openSpool();
    await three(spool);
    flip(segments(spool)[1] ?? "", 60);
    const { storage } = spool;
    const both = await Promise.allSettled([storage.get(idOf(1)), storage.get(idOf(1))]);
    for (const result of both) expect(result).toMatchObject({ status: "rejected" });
    expect((both[0] as PromiseRejectedResult).reason).toBeInstanceOf(CorruptError);
    await expect(storage.get(idOf(1))).rejects.toThrow(NotFoundError);
    expect(await ids(spool)).toEqual([idOf(0), idOf(2)]);
    for (const id of await ids(spool)) await storage.get(id);
    expect(await storage.getInfo()).toMatchObject({ size: 2, corrupt: 1 });
    expect(corruptEvents(spool)).toMatchObject([{ subject: idOf(1) }]);
    const note = JSON.parse(fs.readFileSync(spool.join("corrupt", `${idOf(1)}.json`), "utf8"));
    expect(note).toMatchObject({ subject: idOf(1), sender: "sender@example.org" });
    expect(fs.readFileSync(note.segment, "latin1")).toContain("Subject: 1");
    const again = await spool.reopen();
    expect(await again.getInfo()).toMatchObject({ size: 2, corrupt: 1 });
  });

  test("a segment that is gone takes only its own messages along", async () => {
    await using spool = await openSpool();
    await three(spool);
    fs.rmSync(segments(spool)[2] ?? "");
    await expect(spool.storage.get(idOf(2))).rejects.toThrow(CorruptError);
    expect(await ids(spool)).toEqual([idOf(0), idOf(1)]);
  });

  test("a large body that is damaged never ends well, and leaves the queue", async () => {
    await using spool = await openSpool();
    const sink = await spool.storage.openBody();
    for (let index = 0; index < 8; index += 1)
      await sink.write(new Uint8Array(100_000).fill(index));
    const [id = ""] = await spool.storage.write(
      [envelope({ content: bodyContent(await sink.end()) })],
      1,
    );
    flip(segments(spool)[0] ?? "", 790_000);
    const { envelope: stored } = await spool.storage.get(id);
    await expect(bytesOf(stored.content)).rejects.toThrow("checksum");
    while ((await ids(spool)).length > 0) await Bun.sleep(1);
    expect(await spool.storage.getInfo()).toMatchObject({ size: 0, corrupt: 1 });
  });

  test("no single byte that changes makes a wrong message, or loses a neighbour", async () => {
    await using spool = await openSpool();
    await spool.storage.write(
      [envelope({ text: "first body" }), envelope({ text: "second body" })],
      1,
      {
        ids: [idOf(1), idOf(2)],
      },
    );
    await spool.storage.close();
    const path = segments(spool)[0] ?? "";
    const whole = fs.readFileSync(path);
    for (let offset = 0; offset < whole.length; offset += 7) {
      forget(spool);
      change(path, () =>
        Uint8Array.from(whole, (byte, at) => (at === offset ? byte ^ 0x01 : byte)),
      );
      const storage = await spool.reopen();
      const found = new Map<string, string>();
      for (const { id } of await storage.list({ limit: 9 })) {
        const message = await storage.get(id).catch(() => undefined);
        if (message === undefined) continue;
        expect(message.envelope.sender).toBe("sender@example.org");
        found.set(id, Buffer.from(await bytesOf(message.envelope.content)).toString());
      }
      const right = { [idOf(1)]: "first body", [idOf(2)]: "second body" };
      for (const [id, text] of found) expect(text).toBe(right[id] ?? "");
      expect(found.size).toBeGreaterThanOrEqual(1);
      const { corrupt } = await storage.getInfo();
      if (found.size < 2) expect(corrupt).toBeGreaterThan(0);
      await storage.close();
      fs.rmSync(spool.join("corrupt"), { recursive: true });
      if (!fs.existsSync(path)) fs.writeFileSync(path, whole);
    }
  }, 60_000);

  test("what a start finds is counted and told as well", async () => {
    await using spool = await openSpool();
    await three(spool);
    await spool.storage.close();
    const [first = "", second = ""] = segments(spool);
    fs.truncateSync(first, 90);
    fs.writeFileSync(second, "garbage");
    forget(spool);
    const storage = await spool.reopen();
    expect(await ids(spool)).toEqual([idOf(2)]);
    expect(await storage.getInfo()).toMatchObject({ size: 1, corrupt: 2 });
    expect(corruptEvents(spool).length).toBe(2);
  });

  test("a disk that cannot read a segment costs no mail: the start fails, and works when the disk does", async () => {
    await using spool = await openSpool();
    await three(spool);
    await spool.storage.close();
    forget(spool);
    const files = unreadable(segments(spool)[0] ?? "");
    const failure: unknown = await spool.reopen(files).catch((error: unknown) => error);
    expect(startError(failure)).toMatch(/cannot read .*\.seg; try again, or .* EIO/u);
    expect(exitCodeOf(failure)).toBe(74);
    expect(fs.readdirSync(spool.join("corrupt"))).toEqual([]);
    await spool.reopen();
    expect(await ids(spool)).toEqual([idOf(0), idOf(1), idOf(2)]);
  });

  test("a segment that can never be read is moved aside by a repair, and the rest goes on", async () => {
    await using spool = await openSpool();
    await three(spool);
    await spool.storage.close();
    forget(spool);
    const files = unreadable(segments(spool)[0] ?? "");
    const lines: string[] = [];
    const report = (line: string): void => void lines.push(line);
    await fsckSpool(spool.directory, { repair: true }, { world: testWorld(), files, report });
    expect(lines.join("\n")).toContain("the disk cannot read it (EIO)");
    const storage = await spool.reopen(files);
    expect((await storage.list({ limit: 9 })).map(({ id }) => id)).toEqual([idOf(1), idOf(2)]);
    expect(
      fs.readdirSync(spool.join("corrupt")).filter((name) => name.endsWith(".seg")).length,
    ).toBe(1);
  });

  test("a record that a sender hides in a body is never taken for one", async () => {
    await using spool = await openSpool();
    await spool.storage.write([envelope({ sender: "forged@x", text: "the first" })], 1, {
      ids: [idOf(7)],
    });
    const stolen = fs.readFileSync(segments(spool)[0] ?? "");
    await spool.storage.remove(idOf(7));
    await spool.storage.write([envelope({ content: bytesContent(Uint8Array.from(stolen)) })], 1, {
      ids: [idOf(8)],
    });
    await spool.storage.close();
    const path = segments(spool).at(-1) ?? "";
    // The header of the body's block: behind it the scan looks for the next one, and is now in the sender's hands.
    flip(path, 30);
    forget(spool);
    const storage = await spool.reopen();
    expect((await storage.list({ limit: 9 })).map(({ id }) => id)).not.toContain(idOf(7));
  });
});

describe("a damaged database", () => {
  test("that is garbage is made anew: everything in the segments is kept", async () => {
    await using spool = await openSpool();
    await three(spool);
    await spool.storage.close();
    fs.writeFileSync(spool.join("queue.db"), "garbage".repeat(5000));
    const storage = await spool.reopen();
    expect(await ids(spool)).toEqual([idOf(0), idOf(1), idOf(2)]);
    expect((await storage.getInfo()).corrupt).toBe(1);
    expect(corruptEvents(spool)).toMatchObject([{ subject: "queue.db" }]);
    expect(fs.existsSync(spool.join("rebuild"))).toBe(false);
  });

  for (const cutOff of [false, true]) {
    test(`with pages that are flipped gives back what it knows${cutOff ? ", also when the rescue is cut off" : ""}`, async () => {
      await using spool = await openSpool();
      const many = Array.from({ length: 400 }, (_, index) => idOf(index));
      await spool.storage.write(
        many.map(() => envelope({ to: ["a@x", "b@x"] })),
        1,
        { ids: many },
      );
      for (const id of many.slice(0, 10)) await spool.storage.setRecipientsDelivered(id, [0]);
      for (const id of many.slice(-10)) await spool.storage.setHeld(id, true);
      await spool.storage.close();
      const db = new Database(spool.join("queue.db"));
      db.run("PRAGMA wal_checkpoint(TRUNCATE)");
      const root = (
        db.query("SELECT rootpage FROM sqlite_schema WHERE name = 'message'").get() as {
          rootpage: number;
        }
      ).rootpage;
      db.close();
      change(spool.join("queue.db"), (bytes) => {
        // A leaf somewhere in the middle, and the index that a start asks.
        bytes.fill(0xa5, 4096 * (root + 8), 4096 * (root + 9));
        bytes.fill(0xa5, 4096 * root, 4096 * (root + 1));
        return bytes;
      });
      fs.writeFileSync(spool.join("rebuild"), "");
      if (cutOff) {
        const files = watchedFiles(({ name, path }) => {
          if (name === "openForRead" && path.endsWith(".seg")) throw systemError("EMFILE");
        });
        await expect(spool.reopen(files)).rejects.toThrow("EMFILE");
        expect(fs.existsSync(spool.join("rebuild"))).toBe(true);
      }
      const storage = await spool.reopen();
      expect(await ids(spool)).toHaveLength(99);
      expect((await storage.getInfo()).size).toBe(400);
      expect((await storage.get(idOf(0))).envelope.recipients.map(({ index }) => index)).toEqual([
        1,
      ]);
      expect((await storage.get(idOf(399))).state).toBe("hold");
    });
  }

  test("a message that had ended does not come back from a segment that still lives", async () => {
    await using spool = await openSpool();
    await spool.storage.write([envelope(), envelope()], 1, { ids: [idOf(1), idOf(2)] });
    await spool.storage.remove(idOf(1));
    await spool.storage.close();
    fs.writeFileSync(spool.join("rebuild"), "");
    await spool.reopen();
    expect(await ids(spool)).toEqual([idOf(2)]);
  });

  test("rows whose records are nowhere are told of", async () => {
    await using spool = await openSpool();
    await three(spool);
    await spool.storage.close();
    fs.rmSync(segments(spool)[1] ?? "");
    fs.writeFileSync(spool.join("rebuild"), "");
    const storage = await spool.reopen();
    expect(await ids(spool)).toEqual([idOf(0), idOf(2)]);
    expect((await storage.getInfo()).corrupt).toBe(2);
    expect(fs.existsSync(spool.join("corrupt", `${idOf(1)}.json`))).toBe(true);
  });

  test.each(["epoch", "due"])(
    "without a value in the column %s lets no message wait for ever",
    async (column) => {
      await using spool = await openSpool();
      await three(spool);
      await spool.storage.close();
      const db = new Database(spool.join("queue.db"));
      const { sql } = db.query("SELECT sql FROM sqlite_schema WHERE name = 'message'").get() as {
        readonly sql: string;
      };
      db.run("ALTER TABLE message RENAME TO tight");
      db.run(sql.replaceAll(" NOT NULL", ""));
      db.run("INSERT INTO message SELECT * FROM tight");
      db.run("DROP TABLE tight");
      db.run(`UPDATE message SET ${column} = NULL WHERE id = '${idOf(1)}'`);
      db.close();
      const storage = await spool.reopen();
      const leases = await storage.lease(Number.MAX_SAFE_INTEGER, 9, { holder: "me", until: 1e15 });
      expect(leases.map(({ id }) => id).sort()).toEqual([idOf(0), idOf(1), idOf(2)]);
    },
  );

  test("a domain that is no text does not hide others behind a destination that is down", async () => {
    await using spool = await openSpool();
    await spool.storage.write(
      Array.from({ length: 300 }, () => envelope({ to: ["x@dead.test"] })),
      1,
    );
    await spool.storage.write([envelope({ to: ["x@a.test"] }), envelope({ to: ["x@b.test"] })], 2, {
      ids: [idOf(1), idOf(2)],
    });
    await spool.storage.close();
    const db = new Database(spool.join("queue.db"));
    db.run(`UPDATE message SET domain = x'7a' WHERE id = '${idOf(1)}'`);
    db.close();
    const storage = await spool.reopen();
    const skip = (domain: string) => domain.toLowerCase() === "dead.test";
    const leases = await storage.lease(3, 10, { holder: "me", until: 1e15, skip });
    expect(leases.map(({ id }) => id)).toEqual([idOf(2)]);
  });

  test("that is missing is made anew, and nothing is told", async () => {
    await using spool = await openSpool();
    await three(spool);
    await spool.storage.close();
    forget(spool);
    await spool.reopen();
    expect(await ids(spool)).toEqual([idOf(0), idOf(1), idOf(2)]);
    expect(corruptEvents(spool)).toEqual([]);
  });

  test("that fails while it is used asks for a rescue at the next start", async () => {
    await using spool = await openSpool();
    await three(spool);
    await spool.storage.getInfo();
    fs.truncateSync(spool.join("queue.db-wal"), 0);
    const db = new Database(spool.join("queue.db"));
    db.close();
    const failed = await spool.storage.list({ limit: 9 }).catch(() => "failed");
    if (failed === "failed") expect(fs.existsSync(spool.join("rebuild"))).toBe(true);
    await spool.reopen();
    expect(await ids(spool)).toEqual([idOf(0), idOf(1), idOf(2)]);
  });
});

describe("the lock", () => {
  test("lets nobody else in, in this process or another, until it is given back or its holder dies", async () => {
    await using spool = await openSpool();
    await expect(openSpool({ dir: dirOf(spool) })).rejects.toThrow(LockedError);
    const script = `
      import { lockSpool } from ${JSON.stringify(`${import.meta.dir}/../../src/storage/disk/lock.ts`)};
      try { lockSpool(process.argv[1]); console.log("locked"); setInterval(() => {}, 1000); }
      catch (error) { console.log(error.name, error.message); }`;
    await using refused = startChild([process.execPath, "-e", script, spool.join("lock")]);
    expect((await refused.line(/LockedError .*/u))[0]).toContain(`process ${process.pid}`);
    await spool.storage.close();
    await using holder = startChild([process.execPath, "-e", script, spool.join("lock")]);
    await holder.line(/^locked/u);
    await expect(spool.reopen()).rejects.toThrow(`process ${holder.pid}`);
    holder.kill("SIGKILL");
    await holder.exited;
    const again = await spool.reopen();
    await again.probe();
  });
});

function dirOf(spool: Spool) {
  const path = spool.directory.replace(/\/spool$/u, "");
  return {
    path,
    join: (...parts: readonly string[]) => [path, ...parts].join("/"),
    [Symbol.asyncDispose]: async () => undefined,
  };
}
