import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { type Daemon, productCommand, startDaemon } from "../support/binary.ts";
import { type Child, startChild } from "../support/child.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postfix, postfixInstance } from "../support/postfix.ts";
import { startSink } from "../support/sink.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { drained, QUICK } from "./help.ts";

function serve(spool: string, relay: number | string): Promise<Daemon> {
  const to = typeof relay === "number" ? `smtp://127.0.0.1:${relay}` : relay;
  return startDaemon({ spool, args: ["--relay", to, ...QUICK] });
}

/** Runs a client to its end. */
async function run(command: readonly string[]): Promise<string> {
  await using child: Child = startChild(command);
  const code = await child.exited;
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}:\n${child.output()}`);
  return child.output();
}

function inbox(postfix: Postfix, count: number): Promise<readonly string[]> {
  return until(`${count} in the inbox`, async () => {
    const mail = await postfix.inbox();
    return mail.length >= count && mail;
  });
}

const SMTPLIB = `
import smtplib, sys
from email.message import EmailMessage
message = EmailMessage()
message["From"], message["To"], message["Subject"] = "ann@example.org", "bob@example.net", "Grüße"
message.set_content("Ein Satz.\\n.\\n..\\nschön\\n")
with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as client:
    client.send_message(message)
`;

describeWithPeers(
  ["swaks", "smtplib"],
  "stock clients hand mail to serve, which hands it to sink",
  () => {
    test("swaks and Python's smtplib", async () => {
      await using dir = tempDir("peers");
      const saved = dir.join("saved");
      await using sink = startChild([
        ...productCommand(),
        ...["sink", "--listen", "127.0.0.1:0", "--save", saved],
      ]);
      const [, port] = await sink.line(/listening on 127\.0\.0\.1:(\d+)/u);
      await using daemon = await serve(dir.join("spool"), Number(port));
      const server = ["--server", "127.0.0.1", "--port", String(daemon.smtpPort)];
      const said = await run([
        ...["swaks", ...server, "--from", "ann@example.org", "--to", "bob@example.net"],
        ...["--header", "Subject: from swaks", "--body", "one\n.two"],
      ]);
      expect(said).toMatch(/250 2\.0\.0 Ok: queued as [0-9A-Z]{16}/u);
      await run(["python3", "-c", SMTPLIB, String(daemon.smtpPort)]);
      await drained(daemon);
      const mails = readdirSync(saved).map((name) => readFileSync(`${saved}/${name}`, "utf8"));
      expect(mails).toHaveLength(2);
      const swaks = mails.find((mail) => mail.includes("Subject: from swaks"));
      expect(swaks).toContain("\r\n\r\none\r\n.two\r\n");
      expect(swaks).toMatch(/^Received: from /mu);
      const python = mails.find((mail) => !mail.includes("from swaks"));
      expect(python).toContain("\r\nEin Satz.\r\n.\r\n..\r\n");
    }, 30_000);
  },
);

describeWithPeers(["smtp-source", "smtp-sink"], "Postfix's load tools", () => {
  test("smtp-source, many sessions, reused and not, to smtp-sink", async () => {
    await using dir = tempDir("peers");
    await using sink = await startSink();
    await using daemon = await serve(dir.path, sink.port);
    for (const reuse of [[], ["-d"]]) {
      await run([
        ...["/usr/sbin/smtp-source", ...reuse, "-s", "10", "-m", "200", "-l", "10240"],
        ...["-f", "ann@example.org", "-t", "bob@example.net", `127.0.0.1:${daemon.smtpPort}`],
      ]);
    }
    await sink.received(400);
    await drained(daemon);
    expect(sink.count()).toBe(400);
  }, 60_000);
});

/** What Python's email package makes of a notification. */
const PARSE = `
import sys, json, email, email.policy
message = email.message_from_string(sys.stdin.read(), policy=email.policy.default)
parts = list(message.iter_parts())
fields = [dict(part.items()) for part in parts[1].get_payload()]
print(json.dumps({
    "type": message.get_content_type(), "report": message.get_param("report-type"),
    "auto": message["Auto-Submitted"], "to": message["To"], "return_path": message["Return-Path"],
    "parts": [part.get_content_type() for part in parts], "fields": fields,
    "defects": [str(defect) for part in message.walk() for defect in part.defects],
    "text": parts[0].get_content(),
}))
`;

describeWithPeers(["postfix", "smtplib"], "a private Postfix", () => {
  test("as next hop: mail lands in a mailbox, and a 550 comes back to the sender as a report", async () => {
    await using dir = tempDir("peers");
    await using postfix = await postfixInstance({
      inboxDomains: ["inbox.example"],
      main: {
        virtual_mailbox_maps: "inline:{ann@inbox.example=inbox/, bob@inbox.example=inbox/}",
      },
    });
    await using daemon = await serve(dir.path, postfix.port);
    await using dialog = await smtpDialog(daemon.smtpPort);
    await dialog.say("EHLO client.example.org");
    const to = ["bob@inbox.example", "nobody@inbox.example"];
    const replies = await dialog.mail("ann@inbox.example", to, "Subject: hi\r\n\r\nHello Bob\r\n");
    expect(replies.at(-1)?.code).toBe(250);
    const mails = await inbox(postfix, 2);
    await drained(daemon);
    expect(
      mails.find((mail) => mail.includes("To: bob") || mail.includes("Hello Bob")),
    ).toBeDefined();
    const bounce = mails.find((mail) => mail.includes("multipart/report")) ?? "";
    const { stdout, stderr } = spawnSync("python3", ["-c", PARSE], {
      input: bounce,
      encoding: "utf8",
    });
    if (stdout === "") throw new Error(`no report: ${stderr}\n${bounce}`);
    expect(JSON.parse(stdout)).toMatchObject({
      type: "multipart/report",
      report: "delivery-status",
      auto: expect.stringMatching(/^auto-/u),
      to: "ann@inbox.example",
      return_path: "<>",
      parts: ["text/plain", "message/delivery-status", expect.any(String)],
      defects: [],
      fields: [
        { "Reporting-MTA": "dns; queue.example.test" },
        {
          "Final-Recipient": "rfc822; nobody@inbox.example",
          Action: "failed",
          Status: "5.1.1",
          "Diagnostic-Code": expect.stringMatching(/^smtp; 550 5\.1\.1 /u),
        },
      ],
    });
    expect(mails).toHaveLength(2);
  }, 60_000);

  test("as client, with serve as its relayhost", async () => {
    await using dir = tempDir("peers");
    await using sink = await startSink();
    await using daemon = await serve(dir.path, sink.port);
    await using postfix = await postfixInstance({ relayhost: `[127.0.0.1]:${daemon.smtpPort}` });
    await using dialog = await smtpDialog(postfix.port);
    await dialog.say("EHLO client.example.org");
    for (let number = 1; number <= 5; number += 1) {
      const replies = await dialog.mail(
        "ann@example.org",
        ["bob@example.net"],
        `Subject: ${number}\r\n\r\nHi\r\n`,
      );
      expect(replies.at(-1)?.code).toBe(250);
    }
    await sink.received(5);
    await until("Postfix is done", async () => (await postfix.queued()) === 0);
    await drained(daemon);
    expect(sink.count()).toBe(5);
    expect(await postfix.log()).toMatch(/status=sent \(250 2\.0\.0 Ok: queued as [0-9A-Z]{16}\)/u);
  }, 60_000);
});
