import { describe, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import fc from "fast-check";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import { openMemoryStorage } from "../../src/storage/memory/memory-storage.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { tempDir } from "../support/temp-dir.ts";
import { OPTIONS, openSpool } from "./disk-fixture.ts";
import { bytesOf, envelope, idOf, testWorld } from "./fixtures.ts";
import { operations, perform } from "./operations.ts";
import { watchedFiles } from "./watched-files.ts";

/** What its clients know of the store at one instant. */
interface Known {
  /** Acknowledged writes, each of them ids that go together. */
  readonly written: readonly (readonly string[])[];
  /** Writes that were asked for, acknowledged or not. */
  readonly asked: readonly (readonly string[])[];
  readonly ended: readonly string[];
  readonly bounced: readonly string[];
  readonly attempts: ReadonlyMap<string, number>;
}

/** Copies the spool as a crash would leave it: the lock's holder is gone. */
function snapshot(from: string, to: string): void {
  cpSync(from, to, { recursive: true });
  rmSync(`${to}/queue.db-shm`, { force: true });
}

/** Everything that a queue does to a store, with notes of what was acknowledged. */
async function work(storage: QueueStorage, known: Record<keyof Known, unknown>, now: () => number) {
  const { written, asked, ended, bounced, attempts } = known as {
    written: string[][];
    asked: string[][];
    ended: string[];
    bounced: string[];
    attempts: Map<string, number>;
  };
  for (let round = 0; round < 4; round += 1) {
    const base = round * 10;
    const pairs = [0, 2, 4].map((offset) => [idOf(base + offset), idOf(base + offset + 1)]);
    asked.push(...pairs);
    await Promise.all(
      pairs.map(async (ids) => {
        const to = ["a@x.example", "b@x.example"];
        await storage.write([envelope({ to }), envelope({ to })], now(), { ids });
        written.push(ids);
      }),
    );
    await storage.lease(now(), 100, { holder: "me", until: now() + 1000 });
    const [delivered, bounce, partly] = [idOf(base), idOf(base + 1), idOf(base + 2)];
    const bounceId = `${bounce}B`;
    await Promise.all([
      storage
        .settle(delivered, { attempts: 1, recipients: done([0, 1], "delivered") }, { holder: "me" })
        .then(() => ended.push(delivered)),
      storage
        .settle(
          bounce,
          { attempts: 1, recipients: done([0, 1], "bounced") },
          { holder: "me", bounces: [{ id: bounceId, envelope: envelope({ sender: "" }) }] },
        )
        .then(() => bounced.push(bounce)),
      storage
        .settle(
          partly,
          { attempts: 1, due: now(), recipients: done([0], "delivered") },
          { holder: "me" },
        )
        .then(() => attempts.set(partly, 1)),
    ]);
  }
}

function done(indexes: readonly number[], status: "delivered" | "bounced") {
  return indexes.map((index) => ({ index, status }));
}

async function check(directory: string, known: Known): Promise<void> {
  const world = testWorld();
  const events: unknown[] = [];
  const storage = await openDiskStorage(
    { directory, ...OPTIONS },
    { world, emit: (event) => events.push(event) },
  );
  try {
    expect(readdirSync(`${directory}/scratch`).filter((name) => !name.startsWith("spare"))).toEqual(
      [],
    );
    const all = await storage.list({ limit: 1000 });
    const stored = new Set(all.map(({ id }) => id));
    const over = new Set([...known.ended, ...known.bounced]);
    for (const id of known.written.flat()) {
      // P1, P5: it is there, or its end may have become durable just now.
      if (over.has(id)) expect(stored.has(id)).toBe(false);
      else if (!/[0123]$/u.test(id)) expect(stored.has(id)).toBe(true);
    }
    for (const ids of known.asked) {
      // P2, for those that nothing else was done to.
      const [first = "", second = ""] = ids;
      if (/4$/u.test(first)) expect(stored.has(first)).toBe(stored.has(second));
    }
    for (const id of known.written.flat().filter((one) => /1$/u.test(one))) {
      // P4: exactly one of the message and the notice that it bounced, whatever was acknowledged.
      expect([stored.has(id), stored.has(`${id}B`)].filter(Boolean).length).toBe(1);
    }
    for (const id of known.bounced) expect(stored.has(`${id}B`)).toBe(true);
    for (const [id, attempts] of known.attempts) {
      const message = await storage.get(id);
      expect(message.attempts).toBe(attempts);
      expect(message.envelope.recipients.map(({ index }) => index)).toEqual([1]);
    }
    for (const { id } of all) await bytesOf((await storage.get(id)).envelope.content);
    const info = await storage.getInfo();
    expect(info).toMatchObject({ size: all.length, corrupt: 0, states: { active: 0 } });
    expect(events).toEqual([]);
  } finally {
    await storage.close();
  }
}

describe("a crash at any instant (P1-P5)", () => {
  test("leaves what was acknowledged, all of it and nothing half", async () => {
    await using dir = tempDir("crash");
    const world = testWorld();
    const known = { written: [], asked: [], ended: [], bounced: [], attempts: new Map() };
    const copies: { path: string; known: Known }[] = [];
    let operation = 0;
    const files = watchedFiles(({ name }) => {
      if (name === "exists" || name === "freeSpace" || name === "list" || name === "size") return;
      operation += 1;
      if (!existsSync(dir.join("spool", "queue.db"))) return;
      const path = dir.join(`copy-${operation}`);
      snapshot(dir.join("spool"), path);
      copies.push({ path, known: structuredClone(known) });
    });
    await using spool = await openSpool({ files, world, dir });
    await work(spool.storage, known, world.clock.now);
    expect(copies.length).toBeGreaterThan(40);
    for (const copy of copies) await check(copy.path, copy.known);
  }, 60_000);

  test("also in the middle of recovering from one", async () => {
    await using dir = tempDir("crash");
    const world = testWorld();
    const known = { written: [], asked: [], ended: [], bounced: [], attempts: new Map() };
    await using spool = await openSpool({ world, dir });
    await work(spool.storage, known, world.clock.now);
    snapshot(spool.directory, dir.join("first"));
    rmSync(dir.join("first", "queue.db-wal"));
    let operation = 0;
    const copies: string[] = [];
    const files = watchedFiles(() => {
      operation += 1;
      copies.push(dir.join(`second-${operation}`));
      snapshot(dir.join("first"), copies.at(-1) ?? "");
    });
    const emit = () => undefined;
    const first = await openDiskStorage(
      { directory: dir.join("first"), ...OPTIONS },
      { world, emit, files },
    );
    const ids = (await first.list({ limit: 1000 })).map(({ id }) => id);
    await first.close();
    for (const directory of copies) {
      const again = await openDiskStorage({ directory, ...OPTIONS }, { world, emit });
      expect((await again.list({ limit: 1000 })).map(({ id }) => id)).toEqual(ids);
      await again.close();
    }
  }, 60_000);
});

describe("the disk engine and the memory engine", () => {
  test("give the same answers, whatever is done, with restarts and compactions in between", async () => {
    await fc.assert(
      fc.asyncProperty(operations, fc.infiniteStream(fc.nat({ max: 9 })), async (todo, dice) => {
        const world = testWorld();
        await using spool = await openSpool({ world });
        const model = openMemoryStorage({ bodyBytesMax: 1e6 }, { world });
        for (const one of todo) {
          // Which of several that are due at the same instant come first is nobody's promise.
          const operation = one.kind === "lease" ? { ...one, limit: 100 } : one;
          const expected = await perform(model, operation, world);
          // Both live in one world, whose time has moved already.
          if (operation.kind === "wait") continue;
          expect(await perform(spool.storage, operation, world)).toEqual(expected);
          const roll = dice.next().value;
          if (roll === 0) await spool.storage.compact();
          expect(await spool.storage.list({ limit: 100 })).toEqual(
            await model.list({ limit: 100 }),
          );
          for (const { id } of await model.list({ limit: 100 })) {
            const [mine, theirs] = [await spool.storage.get(id), await model.get(id)];
            expect({ ...mine, envelope: mine.envelope.recipients }).toEqual({
              ...theirs,
              envelope: theirs.envelope.recipients,
            });
          }
          const now = world.clock.now();
          const due = (at: number | null) => (at === null ? null : Math.max(at, now));
          expect(due(await spool.storage.nextDue())).toBe(due(await model.nextDue()));
        }
        const before = await model.list({ limit: 100 });
        const again = await spool.reopen();
        const waiting = before.map((each) =>
          each.state === "active"
            ? { ...each, state: each.attempts === 0 ? "incoming" : "deferred" }
            : each,
        );
        expect(await again.list({ limit: 100 })).toEqual(waiting as typeof before);
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
