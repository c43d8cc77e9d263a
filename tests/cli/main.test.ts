import { expect, test } from "bun:test";
import { join } from "node:path";
import { ROOT, runProduct } from "../support/binary.ts";
import { startChild } from "../support/child.ts";
import { tempDir } from "../support/temp-dir.ts";

test("the program tells its version and ends with the right code", async () => {
  expect(await runProduct(["version"])).toEqual({
    code: 0,
    output: expect.stringMatching(/^slimta-queue \d+\.\d+\.\d+ \(\w+\)\n$/u),
  });
  expect((await runProduct(["nonsense"])).code).toBe(64);
});

test("files, the environment and flags reach the configuration", async () => {
  await using dir = tempDir("main");
  await Bun.write(dir.join("c.toml"), "[log]\nformat = 'json'\nlevel = 'debug'\n");
  await Bun.write(dir.join("token"), "hush\n");
  const env = {
    SLIMTA_QUEUE_CONFIG: dir.join("c.toml"),
    SLIMTA_QUEUE_ADMIN__TOKEN_FILE: dir.join("token"),
  };
  const args = ["config", "explain", "log", "admin.token", "--set", "log.level=error"];
  const { code, output } = await runProduct(args, { env });
  expect(code).toBe(0);
  expect(output).toContain(`log.format = "json"  # ${dir.join("c.toml")}`);
  expect(output).toContain('log.level = "error"  # --set');
  expect(output).toContain('admin.token = "<secret>"  # $SLIMTA_QUEUE_ADMIN__TOKEN_FILE');
  const missing = await runProduct(["config", "check", "--config", dir.path]);
  expect(missing.code).toBe(78);
  expect(missing.output).toContain(`cannot read ${dir.path}`);
});

test("a closed pipe is no error", async () => {
  const main = [process.execPath, join(ROOT, "src/main.ts")].join(" ");
  const script = `{ ${main} config explain; echo "code $?" >&2; } | head -n 1`;
  await using child = startChild(["/bin/sh", "-c", script]);
  expect(await child.exited).toBe(0);
  expect(child.output().split("\n").sort()).toEqual(["", expect.stringMatching(/^# /u), "code 0"]);
});

test("the sink ends on TERM with its count", async () => {
  await using child = startChild([
    process.execPath,
    join(ROOT, "src/main.ts"),
    ...["sink", "--listen", "127.0.0.1:0"],
  ]);
  await child.line(/^listening on 127\.0\.0\.1:\d+$/mu);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  expect(child.output()).toEndWith("received 0 messages, 0 recipients, 0 bytes\n");
});
