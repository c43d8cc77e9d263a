import { expect, test } from "bun:test";
import { globSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { type Daemon, startDaemon } from "../support/binary.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { QUICK, queueOf } from "./help.ts";

const MESSAGES = 12;

function segments(spool: string): readonly string[] {
  return globSync("content/*/*.seg", { cwd: spool })
    .map((name) => join(spool, name))
    .toSorted();
}

/** Turns a byte in the middle of a file over. */
function flip(path: string): void {
  const bytes = readFileSync(path);
  const middle = bytes.indexOf("message ");
  const at = middle < 0 ? bytes.length >> 1 : middle;
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  writeFileSync(path, bytes);
}

interface Case {
  readonly title: string;
  readonly damage: (spool: string) => void;
  /** How many messages may be missing at most; each of them is reported. */
  readonly lostMax: number;
  /** What is said of it. */
  readonly subject: RegExp | undefined;
}

const CASES: readonly Case[] = [
  {
    title: "a segment is cut short",
    damage: (spool) => truncateSync(segments(spool)[3] ?? "", 60),
    lostMax: 1,
    subject: /damaged, moved to .*corrupt/u,
  },
  {
    title: "bits of a segment are turned over",
    damage: (spool) => flip(segments(spool)[5] ?? ""),
    lostMax: 1,
    subject: /damaged, moved to .*corrupt/u,
  },
  {
    title: "a segment is gone",
    damage: (spool) => rmSync(segments(spool)[2] ?? ""),
    lostMax: 1,
    subject: /damaged, moved to .*corrupt/u,
  },
  {
    title: "queue.db is gone",
    damage: (spool) => {
      for (const suffix of ["", "-wal", "-shm"]) {
        rmSync(join(spool, `queue.db${suffix}`), { force: true });
      }
    },
    lostMax: 0,
    subject: undefined,
  },
  {
    title: "queue.db is garbage",
    damage: (spool) => {
      rmSync(join(spool, "queue.db-wal"), { force: true });
      writeFileSync(join(spool, "queue.db"), "this is no database ".repeat(1000));
    },
    lostMax: 0,
    subject: /queue\.db: damaged, moved to .*corrupt/u,
  },
];

for (const { title, damage, lostMax, subject } of CASES) {
  test(`P6: ${title}: all other mail is delivered, and it is told`, async () => {
    await using dir = tempDir("damage");
    const client = ledgerClient();
    await using receiver = await ledgerReceiver();
    {
      await using daemon = await start(dir.path, "none");
      // One at a time, so that each is in a segment of its own.
      await client.sendSome(daemon.smtpPort, 1, MESSAGES);
      expect(await daemon.stop()).toBe(0);
    }
    expect(segments(dir.path)).toHaveLength(MESSAGES);
    damage(dir.path);
    await using daemon = await start(dir.path, `smtp://127.0.0.1:${receiver.port}`);
    await until("nothing waits", async () => (await queueOf(daemon)).size === 0);
    expectOnce(receiver, MESSAGES - lostMax);
    const { corrupt } = await queueOf(daemon);
    if (subject === undefined) return;
    await daemon.line(subject);
    expect(readdirSync(join(dir.path, "corrupt")).length).toBeGreaterThan(0);
    if (lostMax === 0) return;
    expect(receiver.taken.size).toBe(MESSAGES - 1);
    expect(corrupt).toBe(1);
    expect(await (await daemon.admin("/")).text()).toContain("DAMAGED");
    expect(await (await daemon.admin("/metrics")).text()).toMatch(/^slimta_\w*corrupt\w* 1$/mu);
    expect((await daemon.admin("/readyz")).status).toBe(200);
  }, 30_000);
}

function start(spool: string, relay: string): Promise<Daemon> {
  return startDaemon({ spool, args: ["--relay", relay, ...QUICK] });
}

function expectOnce(receiver: LedgerReceiver, least: number): void {
  expect(receiver.taken.size).toBeGreaterThanOrEqual(least);
  for (const instants of receiver.taken.values()) expect(instants).toHaveLength(1);
}
