import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { fsck } from "../../src/app/fsck.ts";
import type { Config } from "../../src/config/config.ts";
import { openSpool } from "../storage/disk-fixture.ts";
import { envelope } from "../storage/fixtures.ts";

async function run(dir: string, repair = false, url: Config["spool"]["url"] = null) {
  let out = "";
  const writer = {
    write: async (text: string) => {
      out += text;
    },
  };
  const config = { spool: { dir, url } } as Config;
  const code = await fsck(config, { repair }, { stdout: writer, stderr: writer });
  return { code, out };
}

describe("fsck", () => {
  test("ends with 75 while the spool is in use, 0 when it is clean, 65 when not, 0 when repaired", async () => {
    await using spool = await openSpool();
    await spool.storage.write([envelope()], 1);
    expect((await run(spool.directory)).code).toBe(75);
    await spool.storage.close();
    expect(await run(spool.directory)).toEqual({
      code: 0,
      out: "1 messages in 1 segments: clean\n",
    });
    fs.chmodSync(spool.join("content"), 0o750);
    const found = await run(spool.directory);
    expect(found.code).toBe(65);
    expect(found.out).toEndWith("1 damaged, 0 left over\n");
    expect((await run(spool.directory, true)).code).toBe(0);
    expect((await run(spool.directory)).code).toBe(0);
    expect((await run(spool.join("none"))).code).toBe(65);
  });

  test("is for directories", async () => {
    const { code, out } = await run("/nowhere", false, { kind: "memory" });
    expect(code).toBe(64);
    expect(out).toContain("a queue in a directory");
  });
});
