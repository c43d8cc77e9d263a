import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { runProduct, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { tempDir } from "../support/temp-dir.ts";
import { QUICK } from "./help.ts";

/** What `serve` answers when it cannot start, with addresses that nobody else uses. */
async function serve(spool: string, ...more: readonly string[]) {
  const [smtp, admin] = [await freePort(), await freePort()];
  const own = ["--smtp", `127.0.0.1:${smtp}`, "--admin", `127.0.0.1:${admin}`, "--spool", spool];
  return await runProduct(["serve", ...own, "--relay", "none", ...QUICK, ...more]);
}

describe("serve cannot start", () => {
  test("twice on one spool: 75, and says who has it", async () => {
    await using dir = tempDir("start");
    await using daemon = await startDaemon({
      spool: dir.path,
      args: ["--relay", "none", ...QUICK],
    });
    const { code, output } = await serve(dir.path);
    expect(output).toContain(`cannot start: the spool is in use by process ${daemon.pid}`);
    expect(output).toContain(dir.path);
    expect(code).toBe(75);
    expect((await daemon.admin("/readyz")).status).toBe(200);
  });

  test("where another program listens: 69, and says where", async () => {
    await using dir = tempDir("start");
    await using other = await startDaemon({
      spool: dir.join("a"),
      args: ["--relay", "none", ...QUICK],
    });
    for (const [flag, port] of [
      ["--smtp", other.smtpPort],
      ["--admin", other.adminPort],
    ] as const) {
      const { code, output } = await serve(dir.join("b"), flag, `127.0.0.1:${port}`);
      expect(output).toMatch(new RegExp(`cannot start: .*127\\.0\\.0\\.1:${port}.* in use`, "u"));
      expect(code).toBe(69);
    }
  });

  test("on an address that this host does not have: 78", async () => {
    await using dir = tempDir("start");
    const { code, output } = await serve(dir.path, "--smtp", "192.0.2.1:2525");
    expect(output).toContain("cannot start: ");
    expect(output).toContain("192.0.2.1:2525");
    expect(code).toBe(78);
  });

  test("in a spool that cannot be made: 73, and says which and why", async () => {
    await using dir = tempDir("start");
    writeFileSync(dir.join("file"), "");
    const { code, output } = await serve(dir.join("file/spool"));
    expect(output).toContain(`cannot make the spool directory ${dir.join("file/spool")}: ENOTDIR`);
    expect(code).toBe(73);
  });

  test("with wrong values: 78, all of them named, by serve and by config check alike", async () => {
    await using dir = tempDir("start");
    const wrong = ["--set", "smtp.size_max=huge", "--set", "queue.rety=1s", "--relay", "ftp://x"];
    for (const { code, output } of [
      await serve(dir.path, ...wrong),
      await runProduct(["config", "check", ...wrong]),
    ]) {
      for (const path of ["smtp.size_max", "queue.rety", "relay.to"])
        expect(output).toContain(path);
      expect(output).toContain("3 problems in the configuration");
      expect(code).toBe(78);
    }
  });

  test("with an admin port for everybody and no token: 78", async () => {
    await using dir = tempDir("start");
    const open = ["--admin", `0.0.0.0:${await freePort()}`];
    const { code, output } = await serve(dir.path, ...open);
    expect(output).toContain("admin.token");
    expect(code).toBe(78);
  });

  test("with a certificate that cannot be read: says which file", async () => {
    await using dir = tempDir("start");
    const missing = dir.join("missing.pem");
    const tls = ["--set", `smtp.tls.cert_file=${missing}`, "--set", `smtp.tls.key_file=${missing}`];
    const { code, output } = await serve(dir.path, ...tls);
    expect(output).toContain(missing);
    expect(code).toBe(78);
  });
});

test("serve says where everything is before it is asked", async () => {
  await using dir = tempDir("start");
  await using daemon = await startDaemon({ spool: dir.path, args: ["--relay", "none", ...QUICK] });
  const output = daemon.output();
  expect(output).toContain(`127.0.0.1:${daemon.smtpPort}`);
  expect(output).toContain(`127.0.0.1:${daemon.adminPort}`);
  expect(output).toContain(dir.path);
  expect(output).toContain("mail is kept and never sent");
});
