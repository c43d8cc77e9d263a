import { expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import { type Balance, balance, brokenPromises, type Crash } from "../../src/selftest/balance.ts";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { watchSyncs } from "../../src/selftest/sync-watch.ts";
import { binaryCommand, type Daemon, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { drained, QUICK } from "./help.ts";

// How a daemon ends. Random ends under load, and everything else that can go wrong meanwhile: soak.test.ts.

const SESSIONS = 8;
/** The window of P5, and what a busy machine needs to read a reply and to sync. Not the storage's constant: raising that must fail. */
const SETTLED_WITHIN_MS = 500;
/** A settlement may wait for the batch before its own. */
const SYNCS_WAITED_FOR = 2;

/** Where the daemon lives through all its restarts. */
interface Home {
  readonly spool: string;
  readonly smtpPort: number;
  readonly adminPort: number;
  readonly relayPort: number;
}

function start({ spool, smtpPort, adminPort, relayPort }: Home): Promise<Daemon> {
  return startDaemon({
    command: binaryCommand(),
    spool,
    smtpPort,
    adminPort,
    args: ["--relay", `smtp://127.0.0.1:${relayPort}`, ...QUICK],
  });
}

async function homeAt(spool: string, relayPort: number): Promise<Home> {
  const [smtpPort, adminPort] = [await freePort(), await freePort()];
  return { spool, smtpPort, adminPort, relayPort };
}

function expectNoRepeats(found: Balance): void {
  expect(brokenPromises(found)).toEqual([]);
  expect(found.repeats).toEqual([]);
}

test("P5: what was delivered is settled within the window, however little mail there is", async () => {
  await using dir = tempDir("window");
  await using receiver = await ledgerReceiver();
  const home = await homeAt(dir.join("spool"), receiver.port);
  const client = ledgerClient();
  const watch = await watchSyncs(dir.join("watched"), realWorld.clock);
  await using _ = { [Symbol.asyncDispose]: () => watch.stop() };
  const slowMs = () => SYNCS_WAITED_FOR * watch.maxMs();
  const crashes: Crash[] = [];
  for (const messages of [1, 2, 6]) {
    await using daemon = await start(home);
    for (let left = messages; left > 0; left -= 1) {
      await client.sendSome(home.smtpPort, 1, 1);
      await until("the delivery", () => receiver.taken.has(client.tried()));
    }
    // What is tested is that this time is enough.
    await Bun.sleep(SETTLED_WITHIN_MS + slowMs());
    const from = Date.now();
    daemon.kill("SIGKILL");
    await daemon.exited;
    // Only a disk that became slow just now is an excuse.
    crashes.push({ from, to: Date.now(), windowMs: slowMs() });
  }
  await using daemon = await start(home);
  await drained(daemon);
  expect(brokenPromises(balance(client, [receiver], crashes))).toEqual([]);
  expect(client.acknowledged.size).toBe(9);
}, 30_000);

test("P10: TERM under load keeps everything and repeats nothing", async () => {
  await using dir = tempDir("term");
  await using receiver = await ledgerReceiver();
  const home = await homeAt(dir.path, receiver.port);
  const client = ledgerClient();
  const done = new AbortController();
  const sending = client.send(home.smtpPort, SESSIONS, done.signal);
  for (const messages of [40, 80, 120]) {
    await using daemon = await start(home);
    const enough = client.acknowledged.size + messages;
    await until("mail", () => client.acknowledged.size >= enough);
    daemon.kill("SIGTERM");
    expect(await daemon.exited).toBe(0);
    expect(daemon.output()).toContain("daemon stopped: everything that was accepted is kept");
  }
  await using daemon = await start(home);
  done.abort();
  await sending;
  await drained(daemon);
  expectNoRepeats(balance(client, [receiver], []));
  expect(client.acknowledged.size).toBeGreaterThanOrEqual(240);
}, 60_000);
