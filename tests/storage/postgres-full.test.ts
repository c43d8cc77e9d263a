import { expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { describeWithPeers } from "../support/peers.ts";
import { startPostgres } from "../support/postgres.ts";
import { smallDisk, whyNoDisk } from "../support/small-disk.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { bytesOf, collect, envelope } from "./fixtures.ts";
import { freshSchema, openNode } from "./postgres-fixture.ts";

const DISK_MIB = 160;
const TEXT = `Subject: large\r\n\r\n${"0123456789".repeat(6000)}\r\n`;

describeWithPeers(["postgres"], "a PostgreSQL whose disk is full", () => {
  test.skipIf(whyNoDisk() !== undefined)(
    "refuses mail with 452, gives out what it has, and takes mail again when there is room",
    async () => {
      await using dir = tempDir("full");
      chmodSync(dir.path, 0o755);
      await using disk = smallDisk(dir, DISK_MIB);
      chmodSync(disk.path, 0o777);
      await using server = await startPostgres({}, "trust", disk.path);
      await using node = await openNode(server.url(`?schema=${freshSchema()}&connections=3`));
      const { storage } = node;
      const write = async () => (await storage.write([envelope({ text: TEXT })], 1)).at(0) ?? "";
      const ids = [await write()];
      await server.query("CHECKPOINT");
      disk.fill();
      const refusal = await until("it is full", async () => {
        const error = await write().then(
          (id) => void ids.push(id),
          (cause: Error) => cause,
        );
        return error ?? undefined;
      });
      expect(refusal).toMatchObject({ reply: { code: 452 } });
      expect(refusal.message).toContain("No space left");
      const [first = ""] = ids;
      expect(await bytesOf((await storage.get(first)).envelope.content)).toEqual(Buffer.from(TEXT));
      disk.free();
      await until("it knows that there is room", () => storage.refusal() === undefined);
      ids.push(await write());
      const stored = await collect(storage.load());
      expect(stored.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    },
    60_000,
  );
});
