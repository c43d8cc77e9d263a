import { afterEach, beforeAll, expect, test } from "bun:test";
import { createServer } from "node:tls";
import { realWorld } from "../../src/lib/world.ts";
import type { Outcome } from "../../src/relay/relay.ts";
import type { SmarthostOptions } from "../../src/relay/smarthost.ts";
import { openSmarthostRelay } from "../../src/relay/smarthost.ts";
import { makeCertificate } from "../support/certificate.ts";
import { type FakePeer, openPeer, type Script } from "./fake-peer.ts";
import { COURIER, content, delivery, envelope, HASTY, NEVER, shown } from "./fixtures.ts";

const closing: { close(): Promise<void> }[] = [];
let tls = { key: "", cert: "" };
let other = { key: "", cert: "" };

beforeAll(async () => {
  tls = await makeCertificate("localhost");
  other = await makeCertificate("elsewhere.example");
});

afterEach(async () => {
  for (const one of closing.splice(0).reverse()) await one.close();
});

async function tried(
  script: Script,
  options: Partial<SmarthostOptions>,
  credentials?: { user: string; password: string },
): Promise<{ outcome: Outcome | undefined; peer: FakePeer }> {
  const peer = await openPeer(script);
  const host = { host: "localhost", port: peer.port, implicitTls: false };
  const hosts = [credentials ? { ...host, credentials } : host];
  const resolver = {
    addresses: () => Promise.resolve({ kind: "found" as const, addresses: ["127.0.0.1"] }),
  };
  const relay = openSmarthostRelay(
    { ...COURIER, hosts, tls: "opportunistic", ...options },
    realWorld,
    resolver,
  );
  closing.push(peer, relay);
  const [outcome] = await relay.deliver(delivery(envelope(["a@x.example"])), NEVER);
  return { outcome, peer };
}

test("opportunistic: encrypted with any certificate, and EHLO is said again", async () => {
  const { outcome, peer } = await tried({ tls: other }, {});
  expect(outcome?.kind).toBe("delivered");
  expect(outcome?.remote?.tls).toMatch(/^TLSv1\.[23] \S+$/u);
  expect(outcome?.remote?.tlsVerified).toBe(false);
  expect(peer.transcripts[0]?.secure).toBe(true);
  expect(peer.transcripts[0]?.commands.slice(0, 3)).toEqual([
    "EHLO relay.example",
    "STARTTLS",
    "EHLO relay.example",
  ]);
});

test("opportunistic: a handshake that fails is followed by a connection in clear text", async () => {
  const { outcome, peer } = await tried({ brokenTls: true }, {});
  expect(outcome?.kind).toBe("delivered");
  expect(outcome?.remote?.tls).toBeUndefined();
  expect(peer.transcripts).toHaveLength(2);
  expect(peer.transcripts[1]?.commands).not.toContain("STARTTLS");
});

test("a large message goes through encryption whole", async () => {
  const peer = await openPeer({ tls });
  const hosts = [{ host: "127.0.0.1", port: peer.port, implicitTls: false }];
  const relay = openSmarthostRelay({ ...COURIER, hosts, tls: "required" }, realWorld);
  closing.push(peer, relay);
  const line = "0123456789".repeat(7);
  const big = content(`${line}\r\n`.repeat(30_000));
  const outcomes = await relay.deliver(
    delivery(envelope(["a@x.example"], { content: big })),
    NEVER,
  );
  expect(shown(outcomes)).toEqual(["delivered 250 2.0.0"]);
  expect(peer.transcripts[0]?.messages[0]?.length).toBe(72 * 30_000);
});

test("opportunistic: a broken handshake is remembered for a while", async () => {
  const peer = await openPeer({ brokenTls: true });
  const hosts = [{ host: "127.0.0.1", port: peer.port, implicitTls: false }];
  const options = { ...COURIER, hosts, tls: "opportunistic" as const, messagesPerConnectionMax: 1 };
  const relay = openSmarthostRelay(options, realWorld);
  closing.push(peer, relay);
  for (let round = 0; round < 2; round += 1)
    await relay.deliver(delivery(envelope(["a@x.example"])), NEVER);
  const asked = peer.transcripts.map(({ commands }) => commands.includes("STARTTLS"));
  expect(asked).toEqual([true, false, false]);
});

test("opportunistic: STARTTLS that is refused leaves the session in clear text", async () => {
  const refusing: Script = {
    tls,
    on: (line) => (line === "STARTTLS" ? "454 4.7.0 not now" : undefined),
  };
  const { outcome, peer } = await tried(refusing, {});
  expect(outcome?.kind).toBe("delivered");
  expect(peer.transcripts).toHaveLength(1);
});

test("none: never encrypted", async () => {
  const { outcome, peer } = await tried({ tls }, { tls: "none" });
  expect(outcome?.kind).toBe("delivered");
  expect(peer.transcripts[0]?.commands).not.toContain("STARTTLS");
});

test.each<[string, Script, string]>([
  ["is not offered", {}, "deferred 451 4.7.4"],
  ["fails", { brokenTls: true }, "deferred 451 4.7.5"],
  [
    "is refused",
    { brokenTls: true, on: (line) => (line === "STARTTLS" ? "454 4.7.0 no" : undefined) },
    "deferred 454 4.7.0",
  ],
  [
    "cannot be offered, for want of EHLO",
    { on: (line) => (line.startsWith("EHLO") ? "502 5.5.2 no" : undefined) },
    "deferred 451 4.7.4",
  ],
])("required: nothing is sent when encryption %s", async (_, script, expected) => {
  const { outcome, peer } = await tried(script, { tls: "required" });
  expect(shown(outcome ? [outcome] : [])).toEqual([expected]);
  const commands = peer.transcripts.flatMap((transcript) => transcript.commands);
  expect(commands.some((line) => line.startsWith("MAIL"))).toBe(false);
});

test("verify: only a certificate for the host, by a known authority", async () => {
  const known = await tried({ tls }, { tls: "verify", tlsAuthorities: tls.cert });
  expect(known.outcome).toMatchObject({ kind: "delivered", remote: { tlsVerified: true } });
  const unknown = await tried({ tls }, { tls: "verify" });
  expect(shown(unknown.outcome ? [unknown.outcome] : [])).toEqual(["deferred 451 4.7.5"]);
  expect(unknown.outcome?.reply.text).toContain("not verified");
  const wrong = await tried({ tls: other }, { tls: "verify", tlsAuthorities: other.cert });
  expect(shown(wrong.outcome ? [wrong.outcome] : [])).toEqual(["deferred 451 4.7.5"]);
});

test("what a peer says in clear text after STARTTLS is not believed", async () => {
  const { outcome } = await tried(
    {
      tls,
      on: (line, { secure }) =>
        line === "STARTTLS" && !secure
          ? "220 2.0.0 go\r\n250-evil.example\r\n250 SIZE 1"
          : undefined,
    },
    { tls: "required" },
  );
  expect(outcome?.kind).toBe("delivered");
});

test("a handshake that never ends is given up in time", async () => {
  const stalling: Script = {
    tls,
    on: (line, { socket }) => {
      if (line !== "STARTTLS") return undefined;
      socket.removeAllListeners("data");
      socket.write("220 2.0.0 go\r\n");
      return "";
    },
  };
  const { outcome } = await tried(stalling, { tls: "required", timeouts: HASTY });
  expect(shown(outcome ? [outcome] : [])).toEqual(["deferred 451 4.4.2"]);
});

test("implicit TLS from the first byte", async () => {
  const lines: string[] = [];
  const server = createServer(tls, (socket) => {
    socket.on("error", () => undefined);
    socket.write("220 peer.example ESMTP\r\n");
    socket.on("data", (chunk: Buffer) => {
      lines.push(chunk.toString());
      const verb = chunk.subarray(0, 4).toString();
      if (verb === "DATA") socket.write("354 go\r\n");
      else socket.write("250 2.0.0 ok\r\n");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const hosts = [{ host: "localhost", port, implicitTls: true }];
  const options = { ...COURIER, hosts, tls: "verify" as const, tlsAuthorities: tls.cert };
  const relay = openSmarthostRelay(options, realWorld);
  const [outcome] = await relay.deliver(delivery(envelope(["a@x.example"])), NEVER);
  expect(outcome).toMatchObject({ kind: "delivered", remote: { tlsVerified: true } });
  expect(relay.destinationOf("x.example")).toBe(`smtps://localhost:${port}`);
  await relay.close();
  server.close();
});

const LOGIN = { user: "me@example.org", password: "s3cret-w0rd" };

test("credentials go over an encrypted session, PLAIN first", async () => {
  const { outcome, peer } = await tried(
    { tls, extensions: ["PIPELINING", "AUTH LOGIN PLAIN"] },
    { tls: "required" },
    LOGIN,
  );
  expect(outcome?.kind).toBe("delivered");
  const plain = Buffer.from(`\0${LOGIN.user}\0${LOGIN.password}`).toString("base64");
  expect(peer.transcripts[0]?.commands[3]).toBe(`AUTH PLAIN ${plain}`);
});

test("LOGIN where there is no PLAIN", async () => {
  const answers: Record<string, string> = {
    "AUTH LOGIN": "334 VXNlcm5hbWU6",
    [Buffer.from(LOGIN.user).toString("base64")]: "334 UGFzc3dvcmQ6",
    [Buffer.from(LOGIN.password).toString("base64")]: "235 2.7.0 ok",
  };
  const { outcome } = await tried(
    { tls, extensions: ["AUTH=LOGIN"], on: (line) => answers[line] },
    {},
    LOGIN,
  );
  expect(outcome?.kind).toBe("delivered");
});

test("credentials never go in clear text, unless that was asked for", async () => {
  const script: Script = { extensions: ["AUTH PLAIN"] };
  const careful = await tried(script, {}, LOGIN);
  expect(shown(careful.outcome ? [careful.outcome] : [])).toEqual(["deferred 451 4.7.0"]);
  expect(careful.peer.transcripts[0]?.commands).toEqual(["EHLO relay.example"]);
  const careless = await tried(script, { allowClearTextAuth: true }, LOGIN);
  expect(careless.outcome?.kind).toBe("delivered");
});

test("a refused login defers, and no secret is repeated", async () => {
  const script: Script = {
    tls,
    extensions: ["AUTH PLAIN"],
    on: (line) =>
      line.startsWith("AUTH") ? `535 5.7.8 no: ${line} (${LOGIN.password}) for you` : undefined,
  };
  const { outcome } = await tried(script, {}, LOGIN);
  expect(outcome).toMatchObject({ kind: "deferred", reply: { code: 451 }, command: "AUTH" });
  const told = JSON.stringify(outcome);
  expect(told).not.toContain(LOGIN.password);
  expect(told).not.toContain(Buffer.from(`\0${LOGIN.user}\0${LOGIN.password}`).toString("base64"));
});

test("a login that asks for ever is given up", async () => {
  const script: Script = {
    tls,
    extensions: ["AUTH PLAIN"],
    on: (line) => (line.startsWith("AUTH") || line === "" ? "334 more" : undefined),
  };
  const { outcome } = await tried(script, {}, LOGIN);
  expect(shown(outcome ? [outcome] : [])).toEqual(["deferred 451 4.5.0"]);
});
