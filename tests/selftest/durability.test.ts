import { describe, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { realWorld, type World } from "../../src/lib/world.ts";
import { durability } from "../../src/selftest/durability.ts";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { QUICK } from "../e2e/help.ts";
import { productCommand, ROOT, startDaemon } from "../support/binary.ts";
import { startChild } from "../support/child.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { readOnly, smallDisk, whyNoDisk } from "../support/small-disk.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

/** Not the executable: it must find itself this way, too. */
const FROM_SOURCE = [process.execPath, join(ROOT, "src/main.ts")];
const LIAR = [process.execPath, join(import.meta.dir, "liar.ts")];

interface Given {
  readonly dir: string;
  readonly command?: readonly string[];
  readonly json?: boolean;
  readonly strict?: boolean;
  readonly stop?: AbortSignal;
  readonly durationMs?: number;
  readonly drainMs?: number;
}

async function run({
  dir,
  command = productCommand(),
  json = false,
  strict = false,
  ...more
}: Given) {
  const seed = testSeed();
  const world: World = { ...realWorld, random: seededRandom(seed) };
  const { drainMs = 20_000, stop = new AbortController().signal, durationMs = 1000 } = more;
  const [out, err] = [recorder(), recorder()];
  const io = { stdout: { ...out, colour: false }, stderr: err };
  // A fast clock for what only measures: the syncs of a test are few.
  const nanoseconds = () => performance.now() * 1e8;
  const code = await durability({ dir, durationMs, json, strict }, io, {
    command,
    world,
    nanoseconds,
    stop,
    drainMs,
  });
  return {
    code,
    out: out.text(),
    err: err.text(),
    told: `seed ${seed}: ${out.text()}${err.text()}`,
  };
}

function recorder() {
  let kept = "";
  return {
    async write(text: string) {
      kept += text;
    },
    text: () => kept,
  };
}

describe("selftest durability", () => {
  test("passes where it should, beside other files, and leaves nothing", async () => {
    await using dir = tempDir("selftest");
    writeFileSync(dir.join("mail"), "not to be touched");
    const { code, out, told } = await run({ dir: dir.path });
    expect(code, told).toBe(0);
    expect(out).toContain(" 0 lost\n");
    expect(out).toMatch(/^crashes {3}\d+ times kill -9 in 1 s/mu);
    expect(out).toMatch(/\nPASSED[^\n]*\n$/u);
    expect(readdirSync(dir.path)).toEqual(["mail"]);
  }, 60_000);

  test("says the same to programs", async () => {
    await using dir = tempDir("selftest");
    const { code, out, told } = await run({ dir: dir.path, json: true });
    expect(code, told).toBe(0);
    const report = JSON.parse(out);
    expect(report).toMatchObject({ broken: [], ledger: { lost: 0, repeated_outside_window: 0 } });
    expect(["passed", "warned"]).toContain(report.verdict);
    expect(report.kills).toBeGreaterThan(0);
    expect(report.ledger.acknowledged).toBeGreaterThan(0);
    expect(report.ledger.delivered + report.ledger.bounced).toBe(report.ledger.acknowledged);
    expect(report.syncs_ms.small.samples).toBeGreaterThan(2);
  }, 60_000);

  test("works below the spool of a daemon, whose mail it leaves alone", async () => {
    await using dir = tempDir("selftest");
    const args = ["--relay", "none", ...QUICK];
    await using daemon = await startDaemon({ spool: dir.path, args });
    await ledgerClient().sendSome(daemon.smtpPort, 1, 3);
    const before = readdirSync(dir.path);
    const { code, told } = await run({ dir: dir.path });
    expect(code, told).toBe(0);
    expect(readdirSync(dir.path)).toEqual(before);
    expect((await daemon.adminJson("/v1/queue")) as object).toMatchObject({ size: 3 });
    expect(await daemon.stop()).toBe(0);
  }, 60_000);

  test("a server that forgets is found out, and nothing is left", async () => {
    await using dir = tempDir("selftest");
    const { code, out, told } = await run({
      dir: dir.path,
      command: [...LIAR, "forget"],
      drainMs: 200,
    });
    expect(code, told).toBe(1);
    expect(out).toMatch(/^BROKEN {4}P1, P5: \d+ acknowledged and lost: \d/mu);
    expect(out).toMatch(/\nFAILED: P1, P5\n$/u);
    expect(readdirSync(dir.path)).toEqual([]);
  }, 60_000);

  test("a server that does not start is told with what it said", async () => {
    await using dir = tempDir("selftest");
    const { code, out, told } = await run({ dir: dir.path, command: [...LIAR, "mute"] });
    expect(code, told).toBe(1);
    expect(out).toContain("P10: after 0 kills it does not start: error: cannot start: a bad day");
    expect(readdirSync(dir.path)).toEqual([]);
  }, 60_000);

  test("stopped, it concludes nothing and cleans up", async () => {
    await using dir = tempDir("selftest");
    const stop = new AbortController();
    const ran = run({ dir: dir.path, stop: stop.signal, durationMs: 600_000 });
    await until("its directory", () => readdirSync(dir.path).length > 0);
    stop.abort();
    expect(await ran).toMatchObject({ code: 75, err: expect.stringContaining("stopped") });
    expect(readdirSync(dir.path)).toEqual([]);
  }, 60_000);

  test("INT ends the program and what it started", async () => {
    await using dir = tempDir("selftest");
    const flags = ["--spool", dir.path, "--duration", "10m"];
    await using child = startChild([...FROM_SOURCE, "selftest", "durability", ...flags]);
    await child.line(/^Testing /u);
    await until("a daemon", () =>
      readdirSync(dir.path, { recursive: true }).join().includes("lock"),
    );
    child.kill("SIGINT");
    expect(await child.exited).toBe(75);
    expect(readdirSync(dir.path)).toEqual([]);
  }, 60_000);

  test("a directory that is none is named", async () => {
    await using dir = tempDir("selftest");
    const missing = await run({ dir: dir.join("missing") });
    expect(missing).toMatchObject({ code: 65, out: "" });
    expect(missing.err).toContain("missing does not exist; name a directory on the volume");
    writeFileSync(dir.join("file"), "");
    expect(await run({ dir: dir.join("file") })).toMatchObject({ code: 65, out: "" });
  });
});

describe.skipIf(whyNoDisk() !== undefined)("selftest durability, on disks of its own", () => {
  test("memory is warned of, and with --strict that is a failure", async () => {
    await using dir = tempDir("selftest");
    await using disk = smallDisk(dir, 160);
    const { code, out, told } = await run({ dir: disk.path, strict: true });
    expect(code, told).toBe(1);
    expect(out).toMatch(/^warning {3}tmpfs is memory/mu);
    expect(out).toMatch(/\nPASSED WITH WARNINGS: [^\n]*\n$/u);
  }, 60_000);

  test("too little room and no right to write are told apart", async () => {
    await using dir = tempDir("selftest");
    await using disk = smallDisk(dir, 16);
    const small = await run({ dir: disk.path });
    expect(small).toMatchObject({ code: 75, out: "" });
    expect(small.err).toContain(" MiB are free, and 128 MiB are needed");
    await using closed = tempDir("selftest");
    await using _ = readOnly(closed.path);
    const fixed = await run({ dir: closed.path });
    expect(fixed).toMatchObject({ code: 73, out: "" });
    expect(fixed.err).toContain("mounted read-only");
  });
});
