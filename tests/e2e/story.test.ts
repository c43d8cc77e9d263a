import { expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { binaryCommand, type Daemon, runProduct, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { drained, QUICK, queueOf } from "./help.ts";

const MESSAGES = 200;

test("the next hop stops, mail comes in, kill -9, restart, the next hop starts, flush: all of it, once", async () => {
  await using dir = tempDir("story");
  const ports = { smtpPort: await freePort(), adminPort: await freePort() };
  const relayPort = await freePort();
  const args = ["--relay", `smtp://127.0.0.1:${relayPort}`, ...QUICK, "--set", "queue.retry=1h"];
  const start = () => startDaemon({ command: binaryCommand(), spool: dir.path, ...ports, args });
  const client = ledgerClient();
  {
    await using daemon = await start();
    await client.sendSome(daemon.smtpPort, 4, MESSAGES);
    expect(client.acknowledged.size).toBe(MESSAGES);
    daemon.kill("SIGKILL");
    await daemon.exited;
  }
  await using daemon = await start();
  expect((await queueOf(daemon)).size).toBe(MESSAGES);
  await until("the destination is suspended", async () => {
    const { states, delivering } = await queueOf(daemon);
    return delivering === 0 && states.active === 0;
  });
  const admin = ["--admin", `127.0.0.1:${daemon.adminPort}`];
  await using receiver = await ledgerReceiver({ port: relayPort });
  const { code, output } = await runProduct(["queue", "flush", ...admin]);
  expect(output).toContain(`${MESSAGES} messages`);
  expect(code).toBe(0);
  await drained(daemon);
  expectOnce(receiver, client.acknowledged);
}, 60_000);

function expectOnce(receiver: LedgerReceiver, acknowledged: ReadonlyMap<number, number>): void {
  for (const number of acknowledged.keys()) expect(receiver.taken.get(number)).toHaveLength(1);
}

async function submit(daemon: Daemon, to: string, more = "", from = "ann@example.org") {
  await using dialog = await smtpDialog(daemon.smtpPort);
  await dialog.say("EHLO client.example.org");
  expect((await dialog.say(`MAIL FROM:<${from}> RET=HDRS ENVID=e-1`)).code).toBe(250);
  expect((await dialog.say(`RCPT TO:<${to}>${more}`)).code).toBe(250);
  await dialog.say("DATA");
  const answer = await dialog.say("Subject: story\r\n\r\nHello\r\n.");
  return /queued as ([0-9A-Z]+)/u.exec(answer.raw)?.[1] ?? answer.raw;
}

test("operators see and change the queue, over TCP and a unix socket", async () => {
  await using dir = tempDir("story");
  await using daemon = await startDaemon({
    spool: dir.join("spool"),
    args: ["--relay", "none", ...QUICK, "--set", `admin.socket=${dir.join("admin.sock")}`],
  });
  const [first, second, third, fourth] = [
    await submit(daemon, "one@example.net"),
    await submit(daemon, "two@example.net"),
    await submit(daemon, "three@other.example"),
    await submit(daemon, "four@other.example"),
  ];
  const ways = [
    ["--admin", `127.0.0.1:${daemon.adminPort}`],
    ["--set", `admin.socket=${dir.join("admin.sock")}`],
    ["--admin", dir.join("admin.sock")],
  ];
  for (const way of ways) {
    const queue = (...words: readonly string[]) => runProduct(["queue", ...words, ...way]);
    const list = await queue("list");
    expect(list.output).toContain("one@example.net");
    expect(list.output).toContain("4 Requests");
    expect((await queue("show", first)).output).toContain("ann@example.org");
    expect((await queue("hold", second)).output).toContain(`${second}: held`);
    expect((await queue("count")).output).toMatch(/hold +1\n/u);
    expect((await queue("release", second)).code).toBe(0);
    expect((await queue("show", "0000000000000000")).code).toBe(65);
    expect((await runProduct(["healthcheck", ...way])).code).toBe(0);
  }
  const way = ["--admin", `127.0.0.1:${daemon.adminPort}`];
  expect((await runProduct(["queue", "remove", third, ...way])).code).toBe(0);
  expect((await runProduct(["queue", "bounce", fourth, ...way])).code).toBe(0);
  await daemon.line(new RegExp(`${fourth}: to=<four@other.example>, .*status=bounced`, "u"));
  const left = (await daemon.adminJson("/v1/messages?recipients=true")) as {
    messages: { id: string; sender: string; recipients: { address: string }[] }[];
  };
  expect(left.messages.map(({ id }) => id)).toContain(first);
  expect(left.messages.map(({ id }) => id)).not.toContain(third);
  expect(left.messages.find(({ sender }) => sender === "")?.recipients[0]?.address).toBe(
    "ann@example.org",
  );
  const page = await (await daemon.admin("/")).text();
  expect(page).toContain("READY");
  expect(page).toMatch(/in: +5 messages/u);
  await daemon.stop();
  expect((await runProduct(["healthcheck", ...way])).code).toBe(1);
  expect((await runProduct(["queue", "list", ...way])).code).toBe(69);
}, 60_000);

test("a sender who asks hears that mail was relayed beyond DSN, once", async () => {
  await using dir = tempDir("story");
  await using sink = await notices();
  await using daemon = await startDaemon({
    spool: dir.path,
    args: ["--relay", `smtp://127.0.0.1:${sink.port}`, ...QUICK],
  });
  const id = await submit(
    daemon,
    "one@example.net",
    " NOTIFY=SUCCESS ORCPT=rfc822;one@example.net",
  );
  await drained(daemon);
  await daemon.line(new RegExp(`${id}: sender delivery status notification`, "u"));
  const [notice] = await until(
    "a notice",
    () => sink.messages.length === 2 && sink.messages.slice(1),
  );
  expect(notice).toContain("Action: relayed");
  expect(notice).toContain("Original-Envelope-Id: e-1");
  expect(notice).toContain("Original-Recipient: rfc822; one@example.net");
  expect(notice).toContain("Auto-Submitted: auto-");
});

test("senders hear of a delay once, and of the end", async () => {
  await using dir = tempDir("story");
  await using sink = await notices(true);
  await using daemon = await startDaemon({
    spool: dir.path,
    args: [
      ...["--relay", `smtp://127.0.0.1:${sink.port}`, ...QUICK],
      ...["--set", "queue.delay_notice=1s", "--set", "queue.lifetime=4s"],
    ],
  });
  await submit(daemon, "one@example.net");
  await drained(daemon);
  const actions = sink.messages.map((message) => /^Action: (\w+)/mu.exec(message)?.[1]);
  expect(actions).toEqual(["delayed", "failed"]);
}, 30_000);

/** A next hop that keeps what it takes; with `defers`, only notifications. */
async function notices(defers = false) {
  const messages: string[] = [];
  const server = Bun.listen<{ rest: string; inData: boolean }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = { rest: "", inData: false };
        socket.write("220 notices.example ESMTP\r\n");
      },
      data(socket, bytes) {
        socket.data.rest += bytes.toString("latin1");
        for (;;) {
          const { rest, inData } = socket.data;
          const mark = inData ? "\r\n.\r\n" : "\r\n";
          const end = rest.indexOf(mark);
          if (end < 0) return;
          const line = rest.slice(0, end);
          socket.data.rest = rest.slice(end + mark.length);
          if (inData) messages.push(line.replace(/\r\n/gu, "\n"));
          socket.data.inData = !inData && line === "DATA";
          if (socket.data.inData) socket.write("354 Go ahead\r\n");
          else if (defers && line.startsWith("RCPT TO:<one@")) socket.write("451 4.3.0 Later\r\n");
          else socket.write(line === "QUIT" ? "221 2.0.0 Bye\r\n" : "250 2.0.0 Ok\r\n");
        }
      },
    },
  });
  return {
    port: server.port,
    messages,
    async [Symbol.asyncDispose]() {
      server.stop(true);
    },
  };
}
