import { expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { forgetPeak, peakMb, residentMb } from "../../scripts/benchmark/processes.ts";
import { productCommand, startDaemon } from "../support/binary.ts";
import { startChild } from "../support/child.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { drained, QUICK } from "./help.ts";

const MIB = 1024 * 1024;
const GROWTH_MAX = 40 * MIB;

/** A message of lines of 76 characters that no compression helps with. */
function message(bytes: number): Buffer {
  const lines = randomBytes(Math.ceil((bytes * 57) / 78))
    .toString("base64")
    .replace(/.{76}/gu, "$&\r\n");
  return Buffer.from(`Subject: large\r\n\r\n${lines}\r\n`, "latin1");
}

async function send(port: number, content: Uint8Array): Promise<string> {
  await using dialog = await smtpDialog(port);
  await dialog.say("EHLO client.example.org");
  await dialog.say("MAIL FROM:<ann@example.org>");
  await dialog.say("RCPT TO:<bob@example.net>");
  await dialog.say("DATA");
  dialog.write(content);
  dialog.write(".\r\n");
  return (await dialog.reply(60_000)).raw;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("P8: 50 MiB arrive as they were sent, and take less than 40 MiB of memory", async () => {
  await using dir = tempDir("large");
  const saved = dir.join("saved");
  await using sink = startChild([
    ...productCommand(),
    ...["sink", "--listen", "127.0.0.1:0", "--save", saved],
  ]);
  const [, port] = await sink.line(/listening on 127\.0\.0\.1:(\d+)/u);
  await using daemon = await startDaemon({
    spool: dir.join("spool"),
    args: ["--relay", `smtp://127.0.0.1:${port}`, ...QUICK, "--set", "smtp.size_max=64MiB"],
  });
  for (let warm = 0; warm < 3; warm += 1) {
    expect(await send(daemon.smtpPort, message(4 * MIB))).toStartWith("250 ");
  }
  await drained(daemon);
  const large = message(50 * MIB);
  forgetPeak(daemon.pid);
  const before = residentMb(daemon.pid);
  expect(await send(daemon.smtpPort, large)).toStartWith("250 ");
  await drained(daemon, 60_000);
  const growth = (peakMb(daemon.pid) - before) * 1e6;
  console.info(`50 MiB: ${(growth / MIB).toFixed(1)} MiB more memory at the peak`);
  expect(growth).toBeLessThan(GROWTH_MAX);
  const sizes = readdirSync(saved).map((name) => readFileSync(`${saved}/${name}`));
  const arrived = sizes.find((content) => content.length > 50 * MIB);
  expect(sha256(arrived?.subarray(arrived.length - large.length) ?? large.subarray(1))).toBe(
    sha256(large),
  );
}, 120_000);
