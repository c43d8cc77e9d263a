import { expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { type Daemon, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { drained, QUICK } from "./help.ts";

/** No test waits for so long. */
const FOREVER_MS = 10 * 60_000;

function start(spool: string, port: number, ...more: readonly string[]): Promise<Daemon> {
  return startDaemon({ spool, args: ["--relay", `smtp://127.0.0.1:${port}`, ...QUICK, ...more] });
}

for (const { title, grace, stop } of [
  {
    title: "the second TERM breaks off what a slow next hop holds up",
    grace: "10m",
    async stop(daemon: Daemon) {
      daemon.kill("SIGTERM");
      await daemon.line(/daemon draining/u);
      daemon.kill("SIGTERM");
    },
  },
  {
    title: "the grace time ends what a slow next hop holds up",
    grace: "300ms",
    stop: async (daemon: Daemon) => daemon.kill("SIGTERM"),
  },
]) {
  test(`P10: ${title}, and nothing is lost or repeated`, async () => {
    await using dir = tempDir("stop");
    const relayPort = await freePort();
    const client = ledgerClient();
    {
      await using slow = await ledgerReceiver({ port: relayPort, dotDelayMs: FOREVER_MS });
      await using daemon = await start(dir.path, relayPort, "--set", `shutdown.grace=${grace}`);
      await client.sendSome(daemon.smtpPort, 2, 10);
      await until("deliveries are held up", () => slow.connections() > 0);
      const began = performance.now();
      await stop(daemon);
      expect(await daemon.exited).toBe(0);
      expect(performance.now() - began).toBeLessThan(5000);
      expect(slow.count()).toBe(0);
    }
    await using good = await ledgerReceiver({ port: relayPort });
    await using daemon = await start(dir.path, relayPort);
    await drained(daemon);
    expect(good.taken.size).toBe(client.acknowledged.size);
    expect(good.count()).toBe(client.acknowledged.size);
  }, 30_000);
}

test("P10: while it stops it is not ready, takes no new mail, and says so", async () => {
  await using dir = tempDir("stop");
  await using slow = await ledgerReceiver({ dotDelayMs: FOREVER_MS });
  await using daemon = await start(dir.path, slow.port);
  const client = ledgerClient();
  await client.sendSome(daemon.smtpPort, 1, 1);
  await until("a delivery is held up", () => slow.connections() > 0);
  await using dialog = await smtpDialog(daemon.smtpPort);
  await dialog.say("EHLO client.example.org");
  daemon.kill("SIGTERM");
  await daemon.line(/daemon draining/u);
  const response = await daemon.admin("/readyz");
  expect(response.status).toBe(503);
  expect(await response.text()).toContain("stopping: no new mail is taken");
  expect((await dialog.reply()).raw).toStartWith("421 4.3.2 ");
  expect(smtpDialog(daemon.smtpPort)).rejects.toThrow();
  daemon.kill("SIGTERM");
  expect(await daemon.exited).toBe(0);
});
