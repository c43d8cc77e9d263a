import { storageContract } from "../contract/contract.ts";
import { openSpool } from "./disk-fixture.ts";

storageContract("disk", async (world) => {
  const spool = await openSpool({ world });
  return { storage: spool.storage, [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose]() };
});
