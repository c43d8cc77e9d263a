import { expect, test } from "bun:test";
import type { SelftestOptions } from "../../src/cli/parts.ts";
import { run } from "./help.ts";

async function asked(...flags: readonly string[]) {
  let options: SelftestOptions | undefined;
  const ran = await run(["selftest", "durability", ...flags], {
    selftest: async (given) => {
      options = given;
      return 1;
    },
  });
  return { ...ran, options };
}

test("selftest durability hands on what was asked, and the exit code", async () => {
  expect(await asked("--spool", "/mnt/volume")).toMatchObject({
    code: 1,
    options: { dir: "/mnt/volume", durationMs: 20_000, json: false, strict: false },
  });
  expect(await asked("--json", "--strict", "--duration", "1m30s")).toMatchObject({
    options: { dir: "/var/spool/slimta-queue", durationMs: 90_000, json: true, strict: true },
  });
});

test("selftest durability says what is wrong with its flags", async () => {
  for (const duration of ["20", "999ms", "25h", "soon"]) {
    const { code, err, options } = await asked("--duration", duration);
    expect({ code, options }).toEqual({ code: 64, options: undefined });
    expect(err).toContain(`expected a time from 1s to 24h such as 20s, found "${duration}"`);
  }
  expect(await asked("/mnt/volume")).toMatchObject({ code: 64, options: undefined });
  expect(await asked("--spool", "memory:")).toMatchObject({ code: 64, options: undefined });
  expect((await asked("--set", "smtp.size_max=no")).code).toBe(78);
  expect((await run(["selftest"])).err).toContain("selftest what? One of durability");
});
