import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { makeCertificate } from "../support/certificate.ts";
import { run } from "../support/run.ts";
import { contentOf, startEdge } from "./edge-fixture.ts";

const SMTP_SOURCE = "/usr/sbin/smtp-source";
const swaks = Bun.which("swaks");
const python = Bun.which("python3");

// A missing peer is a skip on a developer's machine and a failure where everything must be there.
const isComplete = process.env.CI === "true";
const needs = (program: unknown) => test.skipIf(!isComplete && !program);

describe("stock clients", () => {
  needs(swaks)("swaks hands over a message", async () => {
    await using it = await startEdge();
    const output = await run([
      "swaks",
      ...["--server", `127.0.0.1:${it.port}`, "--ehlo", "swaks.example"],
      ...["--from", "a@example.com", "--to", "b@example.net,c@example.net", "--body", "from swaks"],
    ]);
    expect(output).toContain("250 2.0.0 Ok: queued as ID1");
    expect(await contentOf(it.door.envelopes[0])).toContain("from swaks");
    expect(it.door.envelopes[0]?.recipients).toHaveLength(2);
  });

  needs(swaks)("swaks pipelines", async () => {
    await using it = await startEdge();
    const output = await run([
      ...["swaks", "--server", `127.0.0.1:${it.port}`, "--ehlo", "swaks.example", "--pipeline"],
      ...["--from", "a@example.com", "--to", "b@example.net"],
    ]);
    expect(output).toContain("queued as ID1");
  });

  for (const reuse of [[], ["-d"]]) {
    needs(existsSync(SMTP_SOURCE))(`smtp-source sends 500 messages ${reuse.join("")}`, async () => {
      await using it = await startEdge();
      const load = ["-s", "20", "-l", "10240", "-m", "500"];
      await run([SMTP_SOURCE, ...reuse, ...load, `127.0.0.1:${it.port}`]);
      const contents = await Promise.all(it.door.envelopes.map(contentOf));
      expect(contents).toHaveLength(500);
      for (const content of contents) expect(content.length).toBeGreaterThanOrEqual(10240);
    });
  }

  needs(python)("Python's smtplib sends binary lines, dots and many recipients", async () => {
    await using it = await startEdge({ tls: await makeCertificate("localhost") });
    const script = `
import smtplib, ssl, sys
context = ssl._create_unverified_context()
with smtplib.SMTP("127.0.0.1", ${it.port}, local_hostname="py.example") as client:
    client.starttls(context=context)
    client.ehlo()
    assert client.has_extn("dsn") and client.has_extn("size") and client.has_extn("smtputf8")
    body = b"Subject: x\\r\\n\\r\\n.\\r\\n..\\r\\n\\xff\\x80\\r\\n" + b"z" * 100000 + b"\\r\\n"
    refused = client.sendmail("a@example.com", ["r%d@example.org" % n for n in range(1001)],
        body, mail_options=["body=8bitmime", "ret=hdrs"], rcpt_options=["notify=never"])
    print(len(refused), list(refused.values())[0][0])
    try:
        client.sendmail("a@example.com", ["x@example.org"], "x" * 2000000)
    except smtplib.SMTPSenderRefused as error:
        print(error.smtp_code, error.smtp_error.decode())
`;
    const output = await run(["python3", "-c", script]);
    expect(output).toBe("1 452\n552 5.3.4 Message size exceeds fixed limit\n");
    const [envelope] = it.door.envelopes;
    expect(envelope?.recipients).toHaveLength(1000);
    expect(envelope?.recipients[999]).toMatchObject({ index: 999, notify: ["NEVER"] });
    expect(envelope).toMatchObject({ eightBit: true, dsn: { ret: "HDRS" } });
    const text = `Subject: x\r\n\r\n.\r\n..\r\n\xff\x80\r\n${"z".repeat(100_000)}\r\n`;
    expect(await contentOf(envelope)).toBe(text);
  });
});

needs(python)("a socket that somebody else opened is listened on", async () => {
  const fixture = new URL("edge-fixture.ts", import.meta.url).pathname;
  const server = `
const { startEdge } = await import(${JSON.stringify(fixture)});
const it = await startEdge({ listen: { fd: 3 } });
await it.event((event) => event.kind === "client" && event.what === "disconnected");
await it.edge.close();
console.log(it.port);
`;
  // What a supervisor does: opens the port, hands it on as descriptor 3.
  const supervisor = `
import os, socket, subprocess
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
child = os.fork()
if child == 0:
    spare = os.dup(listener.fileno())
    os.dup2(spare, 3, inheritable=True)
    os.execv(${JSON.stringify(process.execPath)}, ["bun", "-e", ${JSON.stringify(server)}])
client = socket.create_connection(("127.0.0.1", port))
print(port, client.recv(100).decode().strip())
client.send(b"QUIT\\r\\n")
client.recv(100)
client.close()
os.waitpid(child, 0)
`;

  // Programs are started, on machines that may have much else to do.
  setDefaultTimeout(60_000);
  const output = await run(["python3", "-c", supervisor]);
  const [port = ""] = /\d+/u.exec(output) ?? [];
  expect(output.match(new RegExp(`${port}`, "gu"))?.length).toBe(2);
  expect(output).toContain("220 mx.example.org ESMTP slimta-queue");
});
