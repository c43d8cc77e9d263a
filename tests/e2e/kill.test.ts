import { expect, test } from "bun:test";
import { SETTLE_WINDOW_MS } from "../../src/storage/disk/journal.ts";
import { binaryCommand, type Daemon, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { type LedgerClient, ledgerClient } from "../support/ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver, type Whim } from "../support/ledger-receiver.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { tempDir } from "../support/temp-dir.ts";
import { drained, QUICK } from "./help.ts";

const CYCLES = Number(Bun.env.SLIMTA_QUEUE_KILL_CYCLES ?? 15);
const SESSIONS = 8;
/** How long a busy process may need, besides the window, to read a reply and to settle what it says. */
const MARGIN_MS = 280;

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

async function homeAt(spool: string, receiver: LedgerReceiver): Promise<Home> {
  const [smtpPort, adminPort] = [await freePort(), await freePort()];
  return { spool, smtpPort, adminPort, relayPort: receiver.port };
}

/** How long after its first delivery each message was delivered again, seen from the kill that may excuse it. */
function duplicates(receiver: LedgerReceiver, kills: readonly number[]) {
  return [...receiver.taken, ...receiver.bounced].flatMap(([number, instants]) => {
    return instants.slice(0, -1).map((at) => {
      const kill = kills.find((instant) => instant >= at) ?? Number.POSITIVE_INFINITY;
      return { number, beforeKillMs: kill - at };
    });
  });
}

/** P5: everything that was acknowledged has come to one end. */
function expectAllEnded(client: LedgerClient, receiver: LedgerReceiver): void {
  const lost = [...client.acknowledged.keys()].filter(
    (number) => !receiver.taken.has(number) && !receiver.bounced.has(number),
  );
  expect(lost).toEqual([]);
  for (const number of receiver.bounced.keys()) expect(receiver.rejected.has(number)).toBe(true);
}

test(
  "P1, P5, P10: kill -9 at any moment loses nothing and repeats only what was just delivered",
  async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const whim = (): Whim => {
      const roll = random();
      if (roll < 0.04) return "defer";
      if (roll < 0.06) return "reject";
      return roll < 0.07 ? "drop" : "take";
    };
    await using dir = tempDir("kill");
    await using receiver = await ledgerReceiver({ atRcpt: whim, atDot: whim });
    const home = await homeAt(dir.path, receiver);
    const client = ledgerClient();
    const kills: number[] = [];
    const done = new AbortController();
    const sending = client.send(home.smtpPort, SESSIONS, done.signal);
    for (let cycle = 0; cycle < CYCLES; cycle += 1) {
      await using daemon = await start(home);
      await Bun.sleep(20 + random() * 780);
      kills.push(performance.now());
      daemon.kill("SIGKILL");
      expect(await daemon.exited).toBe(137);
      // The instant of the kill lies between the two; the later one is the stricter.
      kills[kills.length - 1] = performance.now();
    }
    await using daemon = await start(home);
    await Bun.sleep(50);
    done.abort();
    await sending;
    await drained(daemon);
    expectAllEnded(client, receiver);
    const repeated = duplicates(receiver, kills);
    const oldest = Math.max(0, ...repeated.map(({ beforeKillMs }) => beforeKillMs));
    console.info(
      `seed ${seed}: ${CYCLES} kills, ${client.tried()} tried, ${client.acknowledged.size} acknowledged, ${receiver.count()} delivered, ` +
        `${receiver.bounced.size} bounced, ${repeated.length} duplicates, at most ${oldest.toFixed(0)} ms before the kill`,
    );
    expect(client.acknowledged.size).toBeGreaterThan(CYCLES * 10);
    expect(oldest).toBeLessThan(SETTLE_WINDOW_MS + MARGIN_MS);
  },
  60_000 + CYCLES * 3000,
);

test("P10: TERM under load keeps everything and repeats nothing", async () => {
  await using dir = tempDir("term");
  await using receiver = await ledgerReceiver();
  const home = await homeAt(dir.path, receiver);
  const client = ledgerClient();
  const done = new AbortController();
  const sending = client.send(home.smtpPort, SESSIONS, done.signal);
  for (const loadMs of [150, 300, 450]) {
    await using daemon = await start(home);
    await Bun.sleep(loadMs);
    daemon.kill("SIGTERM");
    expect(await daemon.exited).toBe(0);
    expect(daemon.output()).toContain("daemon stopped: everything that was accepted is kept");
  }
  await using daemon = await start(home);
  done.abort();
  await sending;
  await drained(daemon);
  expectAllEnded(client, receiver);
  expect([...receiver.taken].filter(([, instants]) => instants.length > 1)).toEqual([]);
  expect(client.acknowledged.size).toBeGreaterThan(100);
}, 60_000);
