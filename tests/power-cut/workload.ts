import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import { startCheckpointThread } from "../../src/storage/disk/checkpoint-thread.ts";
import type { DiskStorage } from "../../src/storage/disk/disk-storage.ts";
import { fsckSpool } from "../../src/storage/disk/fsck.ts";
import { type DiskStorageWorld, openDiskStorage } from "../../src/storage/disk/open.ts";
import { idOf, testWorld } from "../storage/fixtures.ts";
import { seededRandom } from "../support/seeded.ts";
import { DAMAGED } from "./chapters.ts";
import { Client } from "./client.ts";

/**
 * The programs that are recorded, each a process of its own: `bun workload.ts NAME SPOOL MARKS SEED`. They drive the real
 * engine through everything that touches the disk, and write to MARKS what they ask for and what they are told. Most
 * end without closing the store, as a killed process does.
 */
const [name = "", directory = "", marksPath = "", seed = "0"] = process.argv.slice(2);

const marks = fs.openSync(marksPath, "a");
const world = { ...testWorld(), random: seededRandom(Number(seed)) };
const now = world.clock.now();
const later = now + 60_000;
/** Numbers of requests and ids start here, apart from those of other processes over the same spool. */
const first = Number(seed) * 1000;
const id = (number: number) => idOf(first + number);

type Checkpoints = Pick<DiskStorageWorld, "checkpointRows" | "checkpoints">;

async function open(more: Checkpoints = {}): Promise<{ storage: DiskStorage; client: Client }> {
  const storage = await openDiskStorage(
    { directory, freshBytesMax: 1024 * 1024, freeBytesMin: 0, freePercentMin: 0 },
    { world, emit: () => undefined, ...more },
  );
  clients += 1;
  return { storage, client: new Client(storage, marks, first + clients * 200) };
}
let clients = 0;

const scripts: Readonly<Record<string, () => Promise<unknown>>> = {
  /** A first start in an empty directory, every kind of request, a clean end, and a second start. */
  async everything() {
    const { storage, client } = await open();
    await client.write({ ids: [id(1)], due: now });
    await Promise.all([
      client.write({ ids: [id(2), id(3)], due: now }),
      client.write({ ids: [id(4)], due: now, leased: true }),
      client.write({ ids: [id(5), id(6)], due: now, size: 70_000, streamed: true }),
      client.write({ ids: [id(7)], due: later, size: 3000 }),
    ]);
    await client.settle({ id: id(1), ends: ["delivered", "pending"], due: later });
    await Promise.all([
      client.settle({ id: id(2), ends: ["delivered", "delivered"] }),
      client.settle({ id: id(3), ends: ["bounced", "pending"], due: later, bounce: id(13) }),
      client.settle({ id: id(4), ends: ["bounced", "bounced"], bounce: id(14) }),
    ]);
    await client.incrementAttempts(id(7));
    await client.setTimestamp(id(7), later + 1);
    await client.setDelivered(id(7));
    await client.setHeld(id(5), true, now);
    await client.remove(id(6));
    await client.setHeld(id(5), false, now);
    await spares(client);
    await client.flushAndLease(now);
    await client.settle({ id: id(13), ends: ["delivered", "delivered"] });
    await storage.sweepOrphans();
    await storage.close();
    const again = await open();
    await again.client.look();
    await again.client.write({ ids: [id(30)], due: now });
    await again.client.settle({ id: id(14), ends: ["delivered", "delivered"] });
    await again.client.settle({ id: id(5), ends: ["bounced", "bounced"], bounce: id(31) });
  },

  /** Goes on with whatever a crash has left, and ends like one. */
  async recover() {
    const { storage, client } = await open();
    const ids = await client.look();
    const [one = "", two = "", three = ""] = ids;
    await client.write({ ids: [id(1), id(2)], due: now });
    if (one) await client.settle({ id: one, ends: ["delivered", "delivered"] });
    if (two) await client.settle({ id: two, ends: ["bounced", "bounced"], bounce: id(3) });
    await client.write({ ids: [id(4)], due: now, size: 600 });
    if (three) await client.remove(three);
    await storage.sweepOrphans();
    await client.remove(id(1));
  },

  /** Starts and does nothing more: every state of the start itself can be looked at. */
  async start() {
    await open();
  },

  /** Rounds of mail, with checkpoints while it goes on, until the write-ahead file has been started over twice. */
  async checkpoints() {
    let running: Promise<unknown> = Promise.resolve();
    const { storage, client } = await open({
      checkpointRows: 12,
      checkpoints() {
        const thread = startCheckpointThread();
        const checkpoint = (database: string) => {
          const made = thread.checkpoint(database);
          running = made;
          return made;
        };
        return { ...thread, checkpoint };
      },
    });
    let [number, starts, salt] = [0, 0, walSalt()];
    while (starts < 2 && number < 90) {
      number += 3;
      await client.write({ ids: [id(number), id(number + 1)], due: now });
      await client.settle({ id: id(number), ends: ["delivered", "delivered"] });
      await client.settle({ id: id(number + 1), ends: ["delivered", "pending"], due: later });
      if (number > 9) await client.remove(id(number - 8));
      await running;
      if (walSalt() !== salt) starts += 1;
      salt = walSalt();
    }
    if (starts < 2) throw new Error("no checkpoint was made");
    await storage.close();
  },

  /** Many small segments, of which each has lost a message. */
  async manySegments() {
    const { storage, client } = await open();
    for (let number = 1; number < 110; number += 1) {
      const isOld = number < 40;
      await client.write({ ids: isOld ? [id(number), id(number + 500)] : [id(number)], due: now });
      if (isOld) await client.remove(id(number + 500));
      if (number > 70) await client.remove(id(number));
    }
    await client.settle({ id: id(7), ends: ["delivered", "pending"], due: later });
    await storage.close();
  },

  /** Moves what lives in the old segments into one, and goes on with the files that are over. */
  async compaction() {
    const { storage, client } = await open();
    const ids = await client.look();
    const compacted = storage.compact();
    await client.settle({ id: ids[0] ?? "", ends: ["pending", "delivered"], due: later });
    await compacted;
    await client.write({ ids: [id(1)], due: now });
    await client.settle({ id: ids[1] ?? "", ends: ["bounced", "bounced"], bounce: id(2) });
    await client.remove(ids[2] ?? "");
    await client.write({ ids: [id(3)], due: now, size: 5000 });
  },

  /** A few messages, some of them tried, and a clean end. */
  async some() {
    const { storage, client } = await open();
    await client.write({ ids: [id(1), id(2)], due: now });
    await client.write({ ids: [id(3)], due: now, size: 2000 });
    await client.write({ ids: [id(4)], due: now });
    await storage.close();
  },

  /** The same, and some were tried. */
  async someTried() {
    await (await tried()).storage.close();
  },

  /** The same, and the process was killed: what happened last is in the write-ahead file. */
  async someKilled() {
    await tried();
  },

  /** As a process leaves it that has met damage in queue.db. */
  async planRebuild() {
    fs.writeFileSync(`${directory}/rebuild`, "");
  },

  async loseDatabase() {
    for (const suffix of ["", "-wal", "-shm"])
      fs.rmSync(`${directory}/queue.db${suffix}`, { force: true });
  },

  /** Writes over the root of an index: what is known of the messages can still be read. */
  async damageDatabase() {
    const path = `${directory}/queue.db`;
    const db = new Database(path);
    const { rootpage } = db
      .query("SELECT rootpage FROM sqlite_master WHERE name = 'message_by_due'")
      .get() as {
      rootpage: number;
    };
    const { page_size } = db.query("PRAGMA page_size").get() as { page_size: number };
    db.close();
    const fd = fs.openSync(path, "r+");
    fs.writeSync(
      fd,
      new Uint8Array(page_size).fill(0xff),
      0,
      page_size,
      (rootpage - 1) * page_size,
    );
    fs.closeSync(fd);
  },

  /** Puts a directory where SQLite would have a file; the database and its write-ahead file are whole. */
  async blockDatabase() {
    fs.rmSync(`${directory}/queue.db-shm`, { force: true });
    fs.mkdirSync(`${directory}/queue.db-shm`);
  },

  /** Changes one octet of the third message. */
  async damageRecord() {
    for (const path of segments()) {
      const bytes = fs.readFileSync(path);
      const at = bytes.indexOf("Subject: ");
      if (!bytes.subarray(at, at + 40).includes(DAMAGED)) continue;
      bytes[at + 100] = 0;
      fs.writeFileSync(path, bytes);
    }
  },

  /** Writes over the header of a segment. */
  async damageHeader() {
    const fd = fs.openSync(segments()[0] ?? "", "r+");
    fs.writeSync(fd, new Uint8Array(24), 0, 24, 0);
    fs.closeSync(fd);
  },

  /** Meets a damaged record, and puts it aside. */
  async quarantine() {
    const { storage, client } = await open();
    for (const { id: each } of await storage.list({ limit: 10 })) {
      await storage.get(each).catch(() => undefined);
    }
    const ids = await client.look();
    await client.settle({ id: ids[0] ?? "", ends: ["delivered", "delivered"] });
    await client.write({ ids: [id(1)], due: now });
    await client.settle({ id: ids[1] ?? "", ends: ["delivered", "delivered"] });
  },

  async repair() {
    const ask = first + 1;
    fs.writeSync(marks, `${JSON.stringify({ ask, what: "repair", changes: {} })}\n`);
    await fsckSpool(directory, { repair: true }, { world, report: () => undefined });
    fs.writeSync(marks, `${JSON.stringify({ ack: ask })}\n`);
  },
};

async function tried() {
  await scripts.some?.();
  const opened = await open();
  await opened.client.look();
  await opened.client.settle({ id: id(1), ends: ["delivered", "pending"], due: later });
  await opened.client.settle({ id: id(4), ends: ["delivered", "delivered"] });
  return opened;
}

/** Segments that end and whose files are written over by shorter ones, so that old records stand behind the new end. */
async function spares(client: Client): Promise<void> {
  for (let round = 0; round < 3; round += 1) {
    const base = 40 + round * 10;
    await client.write({ ids: [id(base), id(base + 1), id(base + 2)], due: now, size: 900 });
    await client.remove(id(base));
    await client.remove(id(base + 1));
    await client.remove(id(base + 2));
    await client.write({ ids: [id(base + 3)], due: now, size: 30 });
    await client.write({ ids: [id(base + 4)], due: now, leased: true });
    await client.settle({ id: id(base + 4), ends: ["delivered", "delivered"] });
  }
}

function walSalt(): string {
  const path = `${directory}/queue.db-wal`;
  if (!fs.existsSync(path)) return "";
  return fs.readFileSync(path).subarray(16, 24).toString("hex");
}

function segments(): readonly string[] {
  const content = `${directory}/content`;
  return fs.readdirSync(content).flatMap((shard) =>
    fs
      .readdirSync(`${content}/${shard}`)
      .sort()
      .map((file) => `${content}/${shard}/${file}`),
  );
}

await scripts[name]?.();
// A process that exits would close the database, and so leave nothing in its write-ahead file.
process.kill(process.pid, "SIGKILL");
