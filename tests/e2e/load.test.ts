import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { residentMb } from "../../scripts/benchmark/processes.ts";
import { fillSpool } from "../../scripts/endurance/backlog.ts";
import { openCrowd, slowSenders } from "../../scripts/endurance/crowds.ts";
import { type Daemon, startDaemon } from "../support/binary.ts";
import { type MailWorld, mailWorld } from "../support/mail-world.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { QUICK, queueOf } from "./help.ts";

const STRANGER = "127.0.0.9";
const CONNECTION_KB_MAX = 64;

function serve(spool: string, world: MailWorld, ...settings: readonly string[]): Promise<Daemon> {
  const set = [...settings, "shutdown.grace=0s"].flatMap((each) => ["--set", each]);
  return startDaemon({ spool, args: [...world.args, ...QUICK, ...set] });
}

/** Each transaction is split into a message for each of so many domains. */
const SPLIT = 10;

/** One more client sends mail that becomes this many messages; all of it must be taken. */
async function sendSome(daemon: Daemon, host: string, messages: number): Promise<void> {
  await using dialog = await smtpDialog(daemon.smtpPort);
  await dialog.say("EHLO client.example.org");
  const to = Array.from({ length: SPLIT }, (_, number) => `u@d${number}.${host}.test`);
  for (let sent = 0; sent < messages; sent += SPLIT) {
    const replies = await dialog.mail("ann@take.test", to, "Subject: hi\r\n\r\nHi\r\n");
    expect(replies.at(-1)?.code).toBe(250);
  }
}

test("P8: 500 idle connections cost little, stop nobody, and are sent away when their time is over", async () => {
  await using dir = tempDir("load");
  await using world = await mailWorld({ hosts: { take: {} } });
  await using daemon = await serve(dir.path, world, "smtp.timeout=4s");
  await sendSome(daemon, "take", 50);
  const before = residentMb(daemon.pid);
  await using crowd = await openCrowd(daemon.smtpPort, 500);
  expect(crowd.members).toHaveLength(500);
  expect(readdirSync(`/proc/${daemon.pid}/fd`).length).toBeGreaterThan(500);
  const kbEach = ((residentMb(daemon.pid) - before) * 1000) / 500;
  expect(kbEach).toBeLessThan(CONNECTION_KB_MAX);
  await sendSome(daemon, "take", 50);
  await until("the mail of others arrives", () => world.host("take").taken() === 100);
  const codes = await crowd.sentAway(15_000);
  expect(codes.filter((code) => code === 421)).toHaveLength(500);
  await Promise.all(crowd.members.map(({ closed }) => closed));
  await sendSome(daemon, "take", SPLIT);
}, 30_000);

test("200 slow senders are served to the end, and others meanwhile", async () => {
  await using dir = tempDir("load");
  await using world = await mailWorld({ hosts: { take: {}, slow: {} } });
  await using daemon = await serve(dir.path, world);
  await using senders = await slowSenders(daemon.smtpPort, 200, "u@slow.test");
  expect(senders.started).toBe(200);
  for (let round = 1; round <= 5; round += 1) {
    senders.dribble();
    await sendSome(daemon, "take", 20);
  }
  await until("the mail of others arrives", () => world.host("take").taken() === 100);
  expect((await queueOf(daemon)).size).toBe(0);
  expect(await senders.finish()).toBe(200);
  await until("theirs arrives", () => world.host("slow").taken() === 200);
}, 30_000);

test("floods of connections end at the limits; who is inside goes on, and later ones get in", async () => {
  await using dir = tempDir("load");
  await using world = await mailWorld({ hosts: { take: {} } });
  await using daemon = await serve(
    dir.path,
    world,
    ...["smtp.trust=127.0.0.1", "smtp.connections_max=120", "smtp.connections_per_client_max=20"],
  );
  await using inside = await smtpDialog(daemon.smtpPort);
  await inside.say("EHLO client.example.org");
  {
    await using stranger = await openCrowd(daemon.smtpPort, 300, STRANGER);
    expect(stranger.members).toHaveLength(20);
    expect(stranger.refused).toBe(280);
    await using all = await openCrowd(daemon.smtpPort, 300);
    expect(all.members).toHaveLength(99);
    expect(all.refused).toBe(201);
    const replies = await inside.mail("a@take.test", ["b@take.test"], "Subject: hi\r\n\r\nHi\r\n");
    expect(replies.at(-1)?.code).toBe(250);
  }
  const isIn = async () => {
    await using dialog = await smtpDialog(daemon.smtpPort);
    return dialog.greeting.code === 220;
  };
  await until("there is room again", isIn);
  await until("the mail arrives", () => world.host("take").taken() === 1);
}, 30_000);

const BACKLOG = 12_000;
const DEAD_DOMAINS = 400;

test("P9: new mail, also what is to be retried, passes a backlog of dead domains that is due and cannot go", async () => {
  await using dir = tempDir("load");
  let asked = 0;
  await using world = await mailWorld({
    hosts: {
      take: {},
      // Puts each of the first hundred recipients off.
      grey: {
        whim: (step) => {
          if (step === "rcpt") asked += 1;
          return step === "rcpt" && asked <= 100 ? "defer" : undefined;
        },
      },
    },
    down: ["down"],
  });
  const due = Date.now();
  await fillSpool(dir.path, {
    messages: BACKLOG,
    recipient: (index) => `w${index}@d${index % DEAD_DOMAINS}.down.test`,
    due: () => due,
    attempts: 6,
  });
  await using daemon = await serve(dir.path, world, "queue.retry=1s,1s,1s,1s,1s,1s,1h");
  await sendSome(daemon, "grey", 100);
  await sendSome(daemon, "take", 200);
  await until("new mail arrives", () => world.host("take").taken() === 200);
  await until("put off mail arrives", () => world.host("grey").taken() === 100, 20_000);
  await until("the backlog stays", async () => (await queueOf(daemon)).size === BACKLOG);
}, 40_000);
