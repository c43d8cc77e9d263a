import { describe, expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { type Daemon, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { readOnly, smallDisk, whyNoDisk } from "../support/small-disk.ts";
import { type SmtpDialog, smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { drained, QUICK, queueOf } from "./help.ts";

const MIB = 1024 * 1024;

const reason = whyNoDisk();
if (reason !== undefined) console.warn(`skipped: full and read-only disks: ${reason}`);

async function submit(dialog: SmtpDialog, to: string, bytes = 100): Promise<string> {
  const line = `${"x".repeat(70)}\r\n`;
  const message = `Subject: full

${line.repeat(Math.ceil(bytes / 72))}`;
  const replies = await dialog.mail("ann@example.org", [to], message);
  return (replies.find(({ code }) => code >= 400) ?? replies.at(-1))?.raw ?? "";
}

async function open(daemon: Daemon): Promise<SmtpDialog> {
  const dialog = await smtpDialog(daemon.smtpPort);
  await dialog.say("EHLO client.example.org");
  return dialog;
}

/** Tries until a message is taken again. */
async function accepted(daemon: Daemon, to: string): Promise<void> {
  await until("mail is accepted again", async () => {
    await using dialog = await open(daemon);
    return (await submit(dialog, to)).startsWith("250");
  });
}

async function checks(daemon: Daemon) {
  const response = await daemon.admin("/readyz");
  const { checks: named } = (await response.json()) as { checks: Record<string, string> };
  return { status: response.status, checks: named };
}

async function readyMetric(daemon: Daemon): Promise<string | undefined> {
  const text = await (await daemon.admin("/metrics")).text();
  return /^slimta_ready (\d)/mu.exec(text)?.[1];
}

describe.skipIf(reason !== undefined)("P7: the disk of the spool", () => {
  test("is full: 452, what is queued goes out, and it resumes by itself", async () => {
    await using dir = tempDir("disk");
    await using disk = smallDisk(dir, 16);
    const relayPort = await freePort();
    await using daemon = await startDaemon({
      spool: disk.spool,
      args: ["--relay", `smtp://127.0.0.1:${relayPort}`, ...QUICK],
    });
    const client = ledgerClient();
    await client.sendSome(daemon.smtpPort, 2, 50);
    expect(client.acknowledged.size).toBe(50);
    disk.fill();
    let extra = 0;
    {
      await using dialog = await open(daemon);
      // The first to meet the full disk may still fit into what the queue keeps back for itself.
      const refused = await until("a refusal", async () => {
        const answer = await submit(dialog, `${51 + extra}@example.net`, 64 * 1024);
        if (!answer.startsWith("250")) return answer;
        extra += 1;
        return false;
      });
      expect(refused).toStartWith("452 4.3.1 ");
      // A large one would go to the disk while it arrives, and must leave nothing there.
      const large = await submit(dialog, `${51 + extra}@example.net`, 2 * MIB);
      expect(large).toMatch(/^(?:452 4\.3\.1|250) /u);
      if (large.startsWith("250")) extra += 1;
    }
    expect(extra).toBeLessThan(4);
    await until("not ready", async () => (await checks(daemon)).status === 503);
    expect((await daemon.admin("/livez")).status).toBe(200);
    await using receiver = await ledgerReceiver({ port: relayPort });
    await drained(daemon);
    expect(receiver.count()).toBe(50 + extra);
    disk.free();
    await accepted(daemon, "99@example.net");
    await until("ready", async () => (await checks(daemon)).status === 200);
    await drained(daemon);
    for (const number of client.acknowledged.keys()) {
      expect(receiver.taken.get(number)).toHaveLength(1);
    }
    expect(receiver.count()).toBe(51 + extra);
  }, 60_000);

  test("is full at the start: it starts, delivers what is queued, and takes no new mail", async () => {
    await using dir = tempDir("disk");
    await using disk = smallDisk(dir, 16);
    const client = ledgerClient();
    {
      await using daemon = await startDaemon({
        spool: disk.spool,
        args: ["--relay", "none", ...QUICK],
      });
      await client.sendSome(daemon.smtpPort, 2, 30);
      expect(await daemon.stop()).toBe(0);
    }
    disk.fill();
    await using receiver = await ledgerReceiver();
    await using daemon = await startDaemon({
      spool: disk.spool,
      args: ["--relay", `smtp://127.0.0.1:${receiver.port}`, ...QUICK],
      readyStatus: 503,
    });
    await using dialog = await open(daemon);
    expect((await dialog.say("MAIL FROM:<ann@example.org>")).raw).toStartWith("452 4.3.1 ");
    await drained(daemon);
    expect(receiver.count()).toBe(30);
    disk.free();
    await accepted(daemon, "31@example.net");
  }, 60_000);

  test("is below its floor: 452 at MAIL, not ready, and the reason everywhere", async () => {
    await using dir = tempDir("disk");
    await using disk = smallDisk(dir, 16);
    await using receiver = await ledgerReceiver();
    await using daemon = await startDaemon({
      spool: disk.spool,
      args: [
        ...["--relay", `smtp://127.0.0.1:${receiver.port}`, ...QUICK],
        ...["--set", "spool.free_min=8MiB"],
      ],
    });
    expect((await checks(daemon)).checks).toEqual({ spool: "ok", space: "ok", smtp: "ok" });
    expect(await readyMetric(daemon)).toBe("1");
    disk.fill(4 * MIB);
    const low = await until("not ready", async () => {
      const report = await checks(daemon);
      return report.status === 503 && report;
    });
    expect(low.checks.space).toStartWith("4 MiB free, and 8 MiB are asked for");
    expect(await readyMetric(daemon)).toBe("0");
    await using dialog = await open(daemon);
    expect((await dialog.say("MAIL FROM:<ann@example.org>")).raw).toStartWith("452 4.3.1 ");
    expect((await queueOf(daemon)).refusal).toBe("insufficient free space in the spool");
    expect(await (await daemon.admin("/")).text()).toContain("NOT READY");
    disk.free();
    await until("ready", async () => (await checks(daemon)).status === 200);
    expect(await submit(dialog, "1@example.net")).toStartWith("250");
    expect(await readyMetric(daemon)).toBe("1");
    await drained(daemon);
  }, 60_000);

  test("becomes read-only: 451 and why in the log, what is queued goes out, and it resumes by itself", async () => {
    await using dir = tempDir("disk");
    const relayPort = await freePort();
    await using daemon = await startDaemon({
      spool: dir.path,
      args: ["--relay", `smtp://127.0.0.1:${relayPort}`, ...QUICK],
    });
    const client = ledgerClient();
    await client.sendSome(daemon.smtpPort, 2, 20);
    // The kernel makes no file system read-only while somebody writes to it; the directory of new files is enough.
    await using scratch = readOnly(dir.join("scratch"));
    await using dialog = await open(daemon);
    expect(await submit(dialog, "21@example.net")).toBe("451 4.3.0 Queue file write error");
    expect(await submit(dialog, "21@example.net", 2 * MIB)).toStartWith("45");
    await daemon.line(/warning: storage failing: accept: .*EROFS/u);
    const sick = await checks(daemon);
    expect(sick.status).toBe(503);
    expect(sick.checks.spool).toContain("EROFS");
    await using receiver = await ledgerReceiver({ port: relayPort });
    await drained(daemon);
    expect(receiver.count()).toBe(20);
    await scratch.end();
    await accepted(daemon, "21@example.net");
    await daemon.line(/storage recovered: accept/u);
    expect((await checks(daemon)).status).toBe(200);
    await drained(daemon);
    for (let number = 1; number <= 21; number += 1) {
      expect(receiver.taken.get(number)).toHaveLength(1);
    }
  }, 60_000);
});
