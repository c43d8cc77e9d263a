import { describe, expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { openPeer } from "../relay/fake-peer.ts";
import { runProduct, startDaemon } from "../support/binary.ts";
import { startChild } from "../support/child.ts";
import { freePort } from "../support/free-port.ts";
import { describeWithPeers } from "../support/peers.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { QUICK } from "./help.ts";

describe("P11: safe by default", () => {
  test("who is not trusted may not relay", async () => {
    await using dir = tempDir("safe");
    await using daemon = await startDaemon({
      spool: dir.path,
      args: [
        ...["--relay", "none", ...QUICK, "--trust", "192.0.2.0/24"],
        ...["--set", "smtp.greeting_pause=0"],
      ],
    });
    await using dialog = await smtpDialog(daemon.smtpPort);
    await dialog.say("EHLO client.example.org");
    await dialog.say("MAIL FROM:<ann@example.org>");
    const answer = await dialog.say("RCPT TO:<bob@example.net>");
    expect(answer.raw).toStartWith("554 5.7.1 ");
    expect((await dialog.say("DATA")).code).toBe(554);
    await daemon.line(/NOQUEUE: reject: RCPT from .*554 5\.7\.1 .*to=<bob@example\.net>/u);
  });

  test("no password is told by the log, the API, the command line or an error", async () => {
    await using dir = tempDir("safe");
    const secret = "hunter2-secret";
    const refusing = await openPeer({
      extensions: ["AUTH PLAIN LOGIN"],
      on: (command) => (command.startsWith("AUTH") ? "535 5.7.8 Authentication failed" : undefined),
    });
    const relay = ["--relay", `smtp://user:${secret}@127.0.0.1:${refusing.port}`];
    const plain = ["--set", "relay.tls=none"];
    await using daemon = await startDaemon({
      spool: dir.path,
      args: [...relay, ...plain, ...QUICK],
    });
    await ledgerClient().sendSome(daemon.smtpPort, 1, 1);
    await daemon.line(/status=deferred/u);
    const explained = await runProduct(["config", "explain", ...relay, ...plain]);
    const refused = await runProduct([
      "config",
      "check",
      "--relay",
      `smtp://user:${secret}@127.0.0.1:x`,
    ]);
    const pages = ["/", "/v1/queue", "/v1/messages?recipients=true", "/metrics", "/readyz"];
    const answers = await Promise.all(
      pages.map(async (page) => await (await daemon.admin(page)).text()),
    );
    expect(explained.code).toBe(0);
    expect(refused.code).toBe(78);
    for (const text of [explained.output, refused.output, ...answers]) {
      expect(text).not.toContain(secret);
    }
    expect(daemon.output()).not.toContain(secret);
    await refusing.close();
  });

  test("a token is asked of whoever is not on this host, and never shown", async () => {
    await using dir = tempDir("safe");
    const port = await freePort();
    await using daemon = await startDaemon({
      spool: dir.path,
      adminPort: port,
      args: ["--relay", "none", ...QUICK, "--set", "admin.token=sesame-open"],
    });
    expect((await daemon.admin("/v1/queue")).status).toBe(401);
    const authorized = { headers: { authorization: "Bearer sesame-open" } };
    expect((await daemon.admin("/v1/queue", authorized)).status).toBe(200);
    expect((await daemon.admin("/readyz")).status).toBe(200);
    expect(daemon.output()).not.toContain("sesame");
  });
});

describeWithPeers(["curl"], "P11: browsers that were sent here by somebody else", () => {
  test("are refused by Host and by Origin", async () => {
    await using dir = tempDir("safe");
    await using daemon = await startDaemon({
      spool: dir.path,
      args: ["--relay", "none", ...QUICK],
    });
    const status = async (...args: readonly string[]) => {
      const format = ["-s", "-o", "/dev/null", "-w", "%{http_code}"];
      await using curl = startChild(["curl", ...format, ...args, `${daemon.adminUrl}/v1/flush`]);
      await curl.exited;
      return curl.output();
    };
    expect(await status("-X", "POST")).toBe("200");
    expect(await status("-X", "POST", "-H", "Host: rebound.example")).toBe("421");
    expect(await status("-X", "POST", "-H", "Origin: https://evil.example")).toBe("403");
    expect(await status("-X", "POST", "-H", "Sec-Fetch-Site: cross-site")).toBe("403");
    expect(await status("-d", "x=y")).toBe("400");
  });
});
