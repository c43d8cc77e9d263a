import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { bodyContent, bytesContent, withPrefix } from "../../src/mail/content.ts";
import { openMemoryStorage } from "../../src/storage/memory/memory-storage.ts";
import { openPersistentMaps } from "../../src/storage/memory/persistent-maps.ts";
import { storageContract } from "../contract/contract.ts";
import { startChild } from "../support/child.ts";
import { tempDir } from "../support/temp-dir.ts";
import { bytesOf, envelope, idOf, testWorld } from "./fixtures.ts";

const OPTIONS = { bodyBytesMax: 32 * 1024 * 1024 };

function openOver(path: string, world = testWorld()) {
  const maps = openPersistentMaps(path);
  const storage = openMemoryStorage(OPTIONS, { world, ...maps });
  const close = async (): Promise<void> => {
    await storage.close();
    maps.close();
  };
  return { storage, close };
}

storageContract("memory over persistent maps", async (world) => {
  const dir = tempDir("maps");
  const { storage, close } = openOver(dir.join("queue.sqlite"), world);
  return {
    storage,
    isInMemory: true,
    async [Symbol.asyncDispose]() {
      await close();
      await dir[Symbol.asyncDispose]();
    },
  };
});

describe("persistent maps", () => {
  test("what is stored, settled and held is as it was after reopening", async () => {
    await using dir = tempDir("maps");
    const path = dir.join("queue.sqlite");
    const world = testWorld();
    const first = openOver(path, world);
    const now = world.clock.now();
    const sink = await first.storage.openBody();
    await sink.write(new Uint8Array(100_000).fill(7));
    const large = bodyContent(await sink.end());
    const small = withPrefix(bytesContent(Uint8Array.of(0, 255, 10)), Buffer.from("X: 1\r\n"));
    const given = [
      envelope({ content: small, to: ["a@x", "b@x"] }),
      envelope({ content: large }),
      envelope(),
    ];
    const ids = [1, 2, 3].map(idOf);
    await first.storage.write(given, now + 5, { ids });
    await first.storage.settle(idOf(1), {
      attempts: 2,
      due: now,
      recipients: [{ index: 0, status: "delivered" }],
    });
    await first.storage.setHeld(idOf(2), true);
    await first.storage.remove(idOf(3));
    await first.storage.lease(now, 9, { holder: "me", until: now + 60_000 });
    const before = await first.storage.list({ limit: 9 });
    await first.close();

    const second = openOver(path, world);
    expect(await second.storage.list({ limit: 9 })).toEqual([
      // Its lease ended with the process that had it.
      { ...before[0], state: "deferred" } as never,
      before[1] as never,
    ]);
    const read = await second.storage.get(idOf(1));
    expect(read).toMatchObject({ attempts: 2, due: now, recipientCount: 2 });
    expect(read.envelope.recipients).toEqual([{ index: 1, address: "b@x" }]);
    expect(await bytesOf(read.envelope.content)).toEqual(await bytesOf(small));
    const { content } = (await second.storage.get(idOf(2))).envelope;
    expect(content.body.kind).toBe("source");
    expect(await bytesOf(content)).toEqual(await bytesOf(large));
    await second.close();
  });

  test("what was stored outlives a process that is killed", async () => {
    await using dir = tempDir("maps");
    const path = dir.join("queue.sqlite");
    const program = `
      const { openPersistentMaps } = await import(${JSON.stringify(`${import.meta.dir}/../../src/storage/memory/persistent-maps.ts`)});
      const { meta } = openPersistentMaps(${JSON.stringify(path)});
      for (let n = 0; n < 50; n += 1) meta.set(String(n), { id: String(n), epoch: 1 });
      console.log("stored");
      setInterval(() => undefined, 1000);`;
    const child = startChild([process.execPath, "-e", program]);
    await child.line(/^stored$/u);
    // It has the file for itself.
    expect(() => openPersistentMaps(path)).toThrow("SQLITE_BUSY");
    child.kill("SIGKILL");
    await child.exited;
    const maps = openPersistentMaps(path);
    expect([...maps.meta.values()]).toHaveLength(50);
    expect(maps.meta.delete("7")).toBe(true);
    expect(maps.meta.delete("7")).toBe(false);
    expect(maps.meta.get("7")).toBeUndefined();
    maps.close();
  });

  test("a damaged envelope is told from a sound one, and a file of a later version from one of this", async () => {
    await using dir = tempDir("maps");
    const path = dir.join("queue.sqlite");
    const first = openOver(path);
    await first.storage.write([envelope(), envelope()], 1, { ids: [idOf(1), idOf(2)] });
    await first.close();
    const db = new Database(path);
    db.run("UPDATE envelope SET value = CAST(value || x'00' AS BLOB) WHERE key = ?", [idOf(1)]);
    db.close();
    const second = openOver(path);
    await expect(second.storage.get(idOf(1))).rejects.toThrow("is damaged");
    expect((await second.storage.get(idOf(2))).id).toBe(idOf(2));
    await second.close();
    const later = new Database(path);
    later.run("PRAGMA user_version = 9");
    later.close();
    expect(() => openPersistentMaps(path)).toThrow("cannot open");
  });
});
