import { expect, test } from "bun:test";
import { startDaemon } from "../support/binary.ts";
import { type MailWorld, mailWorld } from "../support/mail-world.ts";
import { DRIP_BYTES, SICK_HOSTS, SILENT } from "../support/sick-hosts.ts";
import { type SmtpDialog, smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { QUICK, queueOf } from "./help.ts";

/** What `queue.per_destination_start` is by default. */
const PER_DESTINATION = 5;
/** Transactions; each is split into a message for every domain. */
const SICK_ROUNDS = 10;
const HEALTHY_ROUNDS = 10;

const SICK = [...Object.keys(SICK_HOSTS), SILENT];
const HEALTHY = Array.from({ length: 20 }, (_, number) => `d${number}.well`);
const DRIPPED = `Subject: large\r\n\r\n${`${"x".repeat(1022)}\r\n`.repeat(DRIP_BYTES / 1024)}`;

async function send(
  dialog: SmtpDialog,
  to: readonly string[],
  message = "Subject: hi\r\n\r\nHi\r\n",
) {
  const replies = await dialog.mail("ann@well.test", to, message);
  expect(replies.at(-1)?.code).toBe(250);
}

/** Mail for every sick destination; resolves when each has as much at once as it is trusted with. */
async function sicken(dialog: SmtpDialog, world: MailWorld): Promise<number> {
  await send(dialog, ["large@drip.test"], DRIPPED);
  for (let round = 0; round < SICK_ROUNDS; round += 1) {
    await send(
      dialog,
      SICK.map((host) => `${round}@${host}.test`),
    );
  }
  for (const host of Object.keys(SICK_HOSTS)) {
    const isFull = () => world.host(host).connections.now === PER_DESTINATION;
    await until(`as many connections to ${host} as it may have`, isFull);
  }
  return SICK.length * SICK_ROUNDS + 1;
}

test("P9: hosts that hang at any step, drip or cannot be found take nothing from the others", async () => {
  const arrived = new Set<string>();
  await using world = await mailWorld({
    hosts: { ...SICK_HOSTS, well: { onTaken: ([to = ""]) => void arrived.add(to) } },
    silent: [SILENT],
  });
  await using dir = tempDir("isolation");
  await using daemon = await startDaemon({
    spool: dir.path,
    args: [...world.args, ...QUICK, "--set", "shutdown.grace=0s"],
  });
  await using dialog = await smtpDialog(daemon.smtpPort);
  await dialog.say("EHLO client.example.org");
  const sick = await sicken(dialog, world);

  for (let round = 0; round < HEALTHY_ROUNDS; round += 1) {
    await send(
      dialog,
      HEALTHY.map((domain) => `${round}@${domain}.test`),
    );
  }
  const healthy = HEALTHY_ROUNDS * HEALTHY.length;
  await until("all healthy mail has arrived", () => arrived.size === healthy);
  await until("only sick mail is left", async () => (await queueOf(daemon)).size === sick);

  expect(world.host("well").taken()).toBe(healthy);
  for (const host of Object.keys(SICK_HOSTS)) {
    expect(world.host(host).taken()).toBe(0);
    expect(world.host(host).connections.all).toBe(PER_DESTINATION);
  }
}, 30_000);

test("P10: a question that DNS does not answer keeps nobody who was told to stop", async () => {
  await using world = await mailWorld({ hosts: {}, silent: [SILENT] });
  await using dir = tempDir("isolation");
  await using daemon = await startDaemon({
    spool: dir.path,
    args: [
      ...world.args,
      ...QUICK,
      ...["--set", "shutdown.grace=0s", "--set", "relay.timeout.dns=1h"],
    ],
  });
  await using dialog = await smtpDialog(daemon.smtpPort);
  await dialog.say("EHLO client.example.org");
  await send(dialog, [`u@${SILENT}.test`]);
  await until("the question is asked", () => world.asked() > 0);
  expect(await daemon.stop()).toBe(0);
}, 30_000);
