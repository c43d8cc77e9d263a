import { expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { startDaemon } from "../support/binary.ts";
import { startChild } from "../support/child.ts";
import { freePort } from "../support/free-port.ts";
import { describeWithPeers } from "../support/peers.ts";
import { postfixInstance } from "../support/postfix.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { type TempDir, tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { drained, QUICK } from "./help.ts";

/** A certificate of its own for this name, in `cert.pem` and `key.pem`; both appear at once, as renewal does it. */
async function certify(dir: TempDir, name: string): Promise<void> {
  await using openssl = startChild([
    ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ...["-nodes", "-days", "2", "-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`],
    ...["-keyout", dir.join("new-key.pem"), "-out", dir.join("new-cert.pem")],
  ]);
  if ((await openssl.exited) !== 0) throw new Error(openssl.output());
  renameSync(dir.join("new-key.pem"), dir.join("key.pem"));
  renameSync(dir.join("new-cert.pem"), dir.join("cert.pem"));
}

/** What a stock TLS client says of a handshake. */
async function handshake(port: number, ...args: readonly string[]): Promise<string> {
  await using client = startChild(
    ["openssl", "s_client", "-brief", ...args, "-connect", `127.0.0.1:${port}`],
    { input: "QUIT\r\n" },
  );
  await client.exited;
  return client.output();
}

describeWithPeers(["openssl"], "TLS of clients", () => {
  test("STARTTLS and implicit TLS; a new certificate is used without a restart, also after HUP", async () => {
    await using dir = tempDir("tls");
    await certify(dir, "one.example.test");
    const tlsPort = await freePort();
    const set = {
      "smtp.tls.cert_file": dir.join("cert.pem"),
      "smtp.tls.key_file": dir.join("key.pem"),
      "smtp.tls.listen": `127.0.0.1:${tlsPort}`,
    };
    const sets = Object.entries(set).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    await using daemon = await startDaemon({
      spool: dir.join("spool"),
      args: ["--relay", "none", ...QUICK, ...sets],
    });
    const both = async () => [
      await handshake(daemon.smtpPort, "-starttls", "smtp"),
      await handshake(tlsPort),
    ];
    for (const said of await both()) {
      expect(said).toContain(
        "CN=one.example.test".replace("=", said.includes("CN = ") ? " = " : "="),
      );
      expect(said).toMatch(/Protocol version: TLSv1\.[23]/u);
    }
    expect(await handshake(tlsPort, "-tls1_1")).not.toContain("Protocol version: TLSv1.1");
    await certify(dir, "two.example.test");
    await daemon.line(/daemon reloaded: certificate/u);
    await until("the new certificate", async () => {
      return (await both()).every((said) => said.includes("two.example.test"));
    });
    daemon.kill("SIGHUP");
    await until("told of the reload", () => {
      return (daemon.output().match(/daemon reloaded/gu)?.length ?? 0) >= 2;
    });
    expect((await both()).every((said) => said.includes("two.example.test"))).toBe(true);
    await Bun.write(dir.join("cert.pem"), "this is no certificate");
    await daemon.line(/certificate not reloaded/u);
    expect((await both()).every((said) => said.includes("two.example.test"))).toBe(true);
  }, 30_000);
});

describeWithPeers(["openssl", "postfix"], "TLS to next hops", () => {
  test("a Postfix that offers it gets mail encrypted; with verify, not without a proof", async () => {
    await using dir = tempDir("tls");
    await certify(dir, "postfix.example.test");
    await using postfix = await postfixInstance({
      inboxDomains: ["inbox.example"],
      main: {
        smtpd_tls_cert_file: dir.join("cert.pem"),
        smtpd_tls_key_file: dir.join("key.pem"),
        smtpd_tls_security_level: "encrypt",
        smtpd_tls_received_header: "yes",
      },
    });
    const relay = ["--relay", `smtp://127.0.0.1:${postfix.port}`, ...QUICK];
    {
      await using daemon = await startDaemon({ spool: dir.join("a"), args: relay });
      await using dialog = await smtpDialog(daemon.smtpPort);
      await dialog.say("EHLO client.example.org");
      await dialog.mail("ann@example.org", ["bob@inbox.example"], "Subject: tls\r\n\r\nHi\r\n");
      await drained(daemon);
    }
    const [mail] = await until("the mail", async () => {
      const mails = await postfix.inbox();
      return mails.length > 0 && mails;
    });
    expect(mail).toMatch(/\(using TLSv1\.3 with cipher/u);
    await using careful = await startDaemon({
      spool: dir.join("b"),
      args: [...relay, "--set", "relay.tls=verify"],
    });
    await ledgerClient().sendSome(careful.smtpPort, 1, 1);
    await careful.line(/status=deferred/u);
    expect(await postfix.inbox()).toHaveLength(1);
  }, 60_000);
});
