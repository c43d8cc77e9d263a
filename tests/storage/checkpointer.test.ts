import { expect, test } from "bun:test";
import { Checkpointer } from "../../src/storage/disk/checkpointer.ts";
import { realFiles } from "../../src/storage/disk/files.ts";

/** Counts the checkpoints after so many transactions of so many rows each. */
async function checkpointsAfter(transactions: number, rows: number): Promise<number> {
  let count = 0;
  const checkpoint = async () => {
    count += 1;
    return "";
  };
  const thread = { checkpoint, end: async () => undefined };
  const checkpointer = new Checkpointer(
    realFiles,
    { root: "/nonexistent", database: "/nonexistent/queue.db" },
    () => thread,
  );
  for (let done = 0; done < transactions; done += 1) {
    checkpointer.note(rows);
    await Promise.resolve();
    await Promise.resolve();
  }
  await checkpointer.close();
  return count;
}

test("what small transactions write is folded in as soon as what large ones do", async () => {
  expect(await checkpointsAfter(150, 1)).toBe(0);
  expect(await checkpointsAfter(200, 1)).toBe(1);
  expect(await checkpointsAfter(9, 1000)).toBe(0);
  expect(await checkpointsAfter(10, 1000)).toBe(1);
});
