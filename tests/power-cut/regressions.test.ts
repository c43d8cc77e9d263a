import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { RESERVE_BYTES } from "../../src/storage/disk/reserve.ts";
import { openSpool } from "../storage/disk-fixture.ts";

/** What power cuts left that the recordings do not show by themselves, or only at a few instants. */
describe("a start behind a power cut", () => {
  test.each([
    ["zeros", new Uint8Array(4096)],
    ["garbage", new Uint8Array(4096).fill(0x5a)],
    ["nothing", new Uint8Array(0)],
  ])("finds %s in the lock file, and starts", async (_, bytes) => {
    await using spool = await openSpool();
    await spool.storage.close();
    fs.writeFileSync(spool.join("lock"), bytes);
    await spool.reopen();
    await expect(
      openSpool({ dir: { ...spool, path: "", join: () => spool.directory } }),
    ).rejects.toThrow("open in this process already");
  });

  test("finds the name of the reserve without its space, and makes it again (P7)", async () => {
    await using spool = await openSpool();
    const size = () => fs.statSync(spool.join("reserve")).size;
    expect(size()).toBe(RESERVE_BYTES);
    await spool.storage.close();
    fs.truncateSync(spool.join("reserve"), 512);
    await spool.reopen();
    expect(size()).toBe(RESERVE_BYTES);
  });

  test("finds queue.db cut off while it was made, and leaves it to its journal: no damage", async () => {
    await using spool = await openSpool();
    await spool.storage.close();
    // The head of a journal: no pages in it, and none in the database before; sectors of 512 octets, pages of 4096.
    const journal = Buffer.alloc(512);
    journal.set([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    journal.writeUInt32BE(512, 20);
    journal.writeUInt32BE(4096, 24);
    fs.writeFileSync(spool.join("queue.db-journal"), journal);
    fs.writeFileSync(spool.join("queue.db"), new Uint8Array(4096).fill(0x5a));
    const again = await spool.reopen();
    expect(await again.getInfo()).toMatchObject({ size: 0, corrupt: 0 });
    expect(spool.events).toEqual([]);
  });
});
