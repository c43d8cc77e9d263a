import { Database } from "bun:sqlite";
import * as fs from "node:fs";
import type { World } from "../../src/lib/world.ts";
import type { Emit } from "../../src/observe/events.ts";
import type { CheckpointThread } from "../../src/storage/disk/checkpoint-thread.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import { openMemoryStorage } from "../../src/storage/memory/memory-storage.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { tempDir } from "../support/temp-dir.ts";
import type { Setup } from "./history.ts";
import { DeadError, type Life } from "./life.ts";
import { Platter } from "./platter.ts";
import { type WalMark, walMark, walPrefix } from "./wal.ts";

/** A store that outlives processes, as far as its kind does. */
export interface Engine extends AsyncDisposable {
  /** Opens the store for one life. */
  open(life: Life, emit: Emit): Promise<QueueStorage>;
  /** The life that has it open ends at this instant, without warning. */
  cut(): void;
  /** Puts away what such a life has left. */
  bury(opened: Promise<QueueStorage>): Promise<void>;
  /** The life ends in peace. */
  close(storage: QueueStorage): Promise<void>;
  /** Whether a lease outlives its holder. */
  readonly keepsLeases: boolean;
  /** Whether one process has it for itself. */
  readonly isExclusive: boolean;
  readonly platter?: Platter;
}

/** Bodies that are streamed are small here, and so may be the memory for fresh ones: both ways are gone. */
const FRESH_BYTES = 20_000;

export function openEngine(setup: Setup, world: World, random: () => number): Engine {
  return setup.engine === "memory" ? memoryEngine(world) : diskEngine(setup, world, random);
}

/** Its own process lives on: only queues come and go. */
function memoryEngine(world: World): Engine {
  const storage = openMemoryStorage({ bodyBytesMax: 1e6 }, { world });
  return {
    keepsLeases: true,
    isExclusive: false,
    open: () => Promise.resolve(storage),
    cut: () => undefined,
    bury: () => Promise.resolve(),
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => storage.close(),
  };
}

function diskEngine(setup: Setup, world: World, random: () => number): Engine {
  const dir = tempDir("sim", fs.existsSync("/dev/shm") ? "/dev/shm" : undefined);
  const root = dir.join("spool");
  const saved = dir.join("saved");
  const database = `${root}/queue.db`;
  let durable: WalMark = walMark(database);
  let isNameDurable = false;

  const platter = new Platter({
    random,
    syncMs: setup.syncMs,
    onDirectory: (path) => void fs.mkdirSync(path, { recursive: true }),
    onWalSync() {
      const mark = walMark(database);
      return () => {
        durable = mark;
      };
    },
    onDirectorySync(path) {
      if (path === root && fs.existsSync(database)) isNameDurable = true;
    },
  });

  /** In place of a thread of its own, which would have its own idea of time. */
  function checkpoints(life: Life): CheckpointThread {
    return {
      async checkpoint(path) {
        if (life.isDead) throw new DeadError("checkpoint");
        using db = new Database(path, { readwrite: true });
        const mark = walMark(database);
        const row = db.query("PRAGMA wal_checkpoint(PASSIVE)").get();
        durable = mark;
        const { log, checkpointed } = row as { log: number; checkpointed: number };
        return log === checkpointed ? "" : "more is written than is folded in";
      },
      end: () => Promise.resolve(),
    };
  }

  /** SQLite's part: what was synced is there, and maybe some of what was written behind it. */
  function cutDatabase(): void {
    fs.rmSync(saved, { recursive: true, force: true });
    fs.mkdirSync(saved);
    if (!fs.existsSync(database) || (!isNameDurable && random() < 0.5)) return;
    fs.copyFileSync(database, `${saved}/queue.db`);
    if (!fs.existsSync(`${database}-wal`)) return;
    if (!fs.existsSync(`${database}-shm`)) {
      // Nobody has it open yet.
      fs.copyFileSync(`${database}-wal`, `${saved}/queue.db-wal`);
      return;
    }
    const mark = walMark(database);
    const least = mark.salt === durable.salt ? durable.frames : 0;
    const style = random();
    const share = style < 0.4 ? 0 : 1;
    const more = Math.floor((mark.frames - least) * (style > 0.7 ? 1 : share * random()));
    const torn = mark.frames > least + more ? Math.floor(random() * mark.frameBytes) : 0;
    const bytes = walPrefix(database, mark, least + more, torn);
    fs.writeFileSync(`${saved}/queue.db-wal`, bytes);
    durable = { ...mark, frames: least + more };
  }

  function restoreDatabase(): void {
    for (const suffix of ["", "-wal", "-shm"]) fs.rmSync(database + suffix, { force: true });
    isNameDurable = fs.existsSync(`${saved}/queue.db`);
    for (const name of fs.readdirSync(saved))
      fs.copyFileSync(`${saved}/${name}`, `${root}/${name}`);
  }

  return {
    keepsLeases: false,
    isExclusive: true,
    platter,
    open: (life, emit) =>
      openDiskStorage(
        { directory: root, freshBytesMax: FRESH_BYTES, freeBytesMin: 0, freePercentMin: 0 },
        {
          world: { clock: life.clock, random: world.random },
          emit,
          files: platter.mount(life),
          checkpoints: () => checkpoints(life),
        },
      ),
    cut() {
      cutDatabase();
      platter.cut();
      queueMicrotask(() => platter.wakeDead());
    },
    async bury(opened) {
      const storage = await opened.catch(() => undefined);
      await storage?.close();
      if (fs.existsSync(root)) restoreDatabase();
    },
    async close(storage) {
      await storage.close();
      durable = walMark(database);
    },
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}
