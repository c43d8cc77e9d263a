import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "node:net";
import type { TLSSocket } from "node:tls";
import type { TlsMaterial } from "../../src/edge/smtp.ts";
import { makeCertificate } from "../support/certificate.ts";
import { run } from "../support/run.ts";
import { dialTls, startEdge } from "./edge-fixture.ts";

// Programs are started, on machines that may have much else to do.
setDefaultTimeout(60_000);

let first: TlsMaterial;
let second: TlsMaterial;

beforeAll(async () => {
  [first, second] = await Promise.all([
    makeCertificate("localhost"),
    makeCertificate("other.example"),
  ]);
});

const isTlsFailure = ({ kind, ...rest }: { kind: string; what?: string }) =>
  kind === "client" && rest.what === "tls-failed";

function commonName(socket: unknown): string {
  return String((socket as TLSSocket).getPeerCertificate().subject.CN);
}

describe("STARTTLS", () => {
  test("is offered, encrypts, and forgets what was said before", async () => {
    await using it = await startEdge({ tls: first });
    const plain = await it.dial();
    expect(await plain.say("EHLO before.example")).toContain("|250-STARTTLS|");
    await plain.say("MAIL FROM:<a@example.com>");
    expect(await plain.say("STARTTLS now")).toStartWith("501 5.5.4");
    expect(await plain.say("STARTTLS")).toBe("220 2.0.0 Ready to start TLS");
    const client = await plain.startTls();
    expect(await client.say("MAIL FROM:<a@example.com>")).toBe("503 5.5.1 Send EHLO first");
    expect(await client.say("EHLO after.example")).not.toContain("STARTTLS");
    expect(await client.say("STARTTLS")).toStartWith("502 5.5.1");
    await client.begin();
    expect(await client.say("x\r\n.")).toStartWith("250");
    expect(it.door.envelopes[0]?.client).toMatchObject({
      name: "client.example",
      protocol: "ESMTPS",
      tls: expect.stringMatching(/^TLSv1\.3 TLS_/u),
    });
    expect(await client.say("QUIT")).toStartWith("221");
    client.socket.destroy();
    await it.event((event) => event.kind === "client" && event.what === "disconnected");
  });

  for (const injected of [
    "RSET\r\n",
    "MAIL FROM:<evil@example.org>\r\nRCPT TO:<x@y.example>\r\n",
    "NOO",
    "NOOP\r\n".repeat(600),
  ]) {
    test(`discards ${JSON.stringify(injected.slice(0, 20))} that came before the handshake`, async () => {
      await using it = await startEdge({ tls: first });
      const plain = await it.dial();
      await plain.say("EHLO x");
      plain.send(`STARTTLS\r\n${injected}`);
      expect(await plain.reply()).toStartWith("220");
      const client = await plain.startTls();
      expect(await client.say("EHLO y")).toStartWith("250-");
      expect(await client.say("RCPT TO:<x@y.example>")).toBe("503 5.5.1 Need MAIL command");
      client.socket.destroy();
    });
  }

  test("uses another certificate from one handshake to the next", async () => {
    await using it = await startEdge({ tls: first });
    const names: string[] = [];
    for (const material of [first, second]) {
      it.edge.reloadTls(material);
      const plain = await it.dial();
      await plain.say("STARTTLS");
      const client = await plain.startTls();
      names.push(commonName(client.socket));
      client.socket.destroy();
    }
    expect(names).toEqual(["localhost", "other.example"]);
  });

  test("keeps the old certificate when the new one cannot be used", async () => {
    await using it = await startEdge({ tls: first });
    expect(() => it.edge.reloadTls({ cert: first.cert, key: second.key })).toThrow();
    expect(() => it.edge.reloadTls({ cert: "", key: "nonsense" })).toThrow();
    const plain = await it.dial();
    await plain.say("STARTTLS");
    const client = await plain.startTls();
    expect(commonName(client.socket)).toBe("localhost");
    client.socket.destroy();
  });

  test("may begin after a start without certificate", async () => {
    await using it = await startEdge();
    it.edge.reloadTls(first);
    const plain = await it.dial();
    expect(await plain.say("EHLO x")).toContain("STARTTLS");
    await plain.say("STARTTLS");
    const client = await plain.startTls();
    expect(await client.say("NOOP")).toStartWith("250");
    client.socket.destroy();
  });

  test("that fails is told and leaves nothing", async () => {
    await using it = await startEdge({ tls: first });
    const plain = await it.dial();
    await plain.say("STARTTLS");
    plain.send("this is no handshake\r\n".repeat(10));
    await plain.closed();
    plain.socket.destroy();
    await it.event(isTlsFailure);
    await it.event((event) => event.kind === "client" && event.what === "lost");
    expect(it.edge.connections()).toBe(0);
  });

  test("in the middle of its handshake does not survive a drain", async () => {
    await using it = await startEdge({ tls: first });
    const plain = await it.dial();
    await plain.say("STARTTLS");
    const { edge } = it;
    await edge.drain(10_000);
    expect(edge.connections()).toBe(0);
  });
});

describe("implicit TLS", () => {
  test("takes mail", async () => {
    await using it = await startEdge({ tls: first, implicitTls: true });
    const client = await dialTls(it.port, first.cert);
    await client.begin();
    expect(await client.say("x\r\n.")).toStartWith("250");
    expect(await client.say("STARTTLS")).toStartWith("502");
    expect(it.door.envelopes[0]?.client).toMatchObject({
      ip: "127.0.0.1",
      protocol: "ESMTPS",
      tls: expect.stringMatching(/^TLSv1\.3 /u),
    });
    client.socket.destroy();
  });

  test("that fails is told, and a client that never shakes hands does not survive a drain", async () => {
    await using it = await startEdge({ tls: first, implicitTls: true });
    const socket = connect(it.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write("EHLO plain.example\r\nMAIL FROM:<a@b.example>\r\n");
    await it.event(isTlsFailure);
    socket.destroy();
    const silent = connect(it.port, "127.0.0.1");
    silent.on("error", () => undefined);
    await new Promise((resolve) => silent.once("connect", resolve));
    await it.edge.drain(10_000);
    silent.destroy();
  });
});

describe("old TLS", () => {
  for (const protocol of ["tls1", "tls1_1"]) {
    for (const implicitTls of [false, true]) {
      test(`${protocol} is refused, ${implicitTls ? "implicit" : "STARTTLS"}`, async () => {
        await using it = await startEdge({ tls: first, implicitTls });
        const starttls = implicitTls ? [] : ["-starttls", "smtp"];
        const s_client = ["openssl", "s_client", "-connect", `127.0.0.1:${it.port}`, ...starttls];
        const legacy = [`-${protocol}`, "-cipher", "ALL:@SECLEVEL=0"];
        const old = await run([...s_client, ...legacy], "QUIT\r\n", true);
        expect(old).toContain("Cipher is (NONE)");
        const recent = await run([...s_client, "-tls1_2"], "QUIT\r\n", true);
        expect(recent).toMatch(/Cipher is [A-Z0-9]/u);
      });
    }
  }
});

test("implicit TLS without a certificate is an error of opening", async () => {
  await expect(startEdge({ implicitTls: true })).rejects.toThrow("needs a certificate");
});
