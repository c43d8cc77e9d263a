import { expect, test } from "bun:test";
import { storageContract } from "../contract/contract.ts";
import { openSpool } from "./disk-fixture.ts";
import { envelope } from "./fixtures.ts";

storageContract("disk", async (world) => {
  const spool = await openSpool({ world });
  return { storage: spool.storage, [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose]() };
});

test("what could not be read back is refused when it is written, not lost when it is read", async () => {
  await using spool = await openSpool({});
  const { storage } = spool;
  for (const id of ["", "a.b", "../up", "A".repeat(65)]) {
    await expect(storage.write([envelope()], 1, { ids: [id] })).rejects.toThrow("an id has");
  }
  const nobody = { ...envelope(), recipients: [] };
  await expect(storage.write([nobody], 1)).rejects.toThrow("has no recipients");
  expect(await storage.getInfo()).toMatchObject({ size: 0, corrupt: 0 });
});
