import { afterEach, expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import { openSmarthostRelay } from "../../src/relay/smarthost.ts";
import { type FakePeer, openPeer } from "./fake-peer.ts";
import { COURIER, content, delivery, envelope, NEVER, relayTo, shown } from "./fixtures.ts";

const closing: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of closing.splice(0).reverse()) await one.close();
});

async function sent(of: Envelope, extensions: readonly string[]) {
  const peer: FakePeer = await openPeer({ extensions });
  const relay = relayTo(peer.port);
  closing.push(peer, relay);
  const outcomes = await relay.deliver(delivery(of), NEVER);
  return { outcomes, commands: peer.transcripts[0]?.commands.slice(1) ?? [] };
}

const DSN: Partial<Envelope> = { dsn: { ret: "HDRS", envid: "a+b c" } };

test("DSN parameters go with each recipient, and only to a peer that announced DSN", async () => {
  const of = envelope(
    [
      { address: "a@x.example", notify: ["SUCCESS", "FAILURE"], orcpt: "rfc822;orig=in@x.example" },
      { address: "b@x.example", notify: ["NEVER"] },
      "c@x.example",
    ],
    DSN,
  );
  const { commands, outcomes } = await sent(of, ["DSN", "PIPELINING"]);
  expect(commands.slice(0, 4)).toEqual([
    "MAIL FROM:<sender@example.org> RET=HDRS ENVID=a+2Bb+20c",
    "RCPT TO:<a@x.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig+3Din@x.example",
    "RCPT TO:<b@x.example> NOTIFY=NEVER",
    "RCPT TO:<c@x.example>",
  ]);
  expect(outcomes.every(({ dsnRelayed }) => dsnRelayed === true)).toBe(true);

  const without = await sent(of, ["DSNX", "PIPELINING"]);
  expect(without.commands.slice(0, 2)).toEqual([
    "MAIL FROM:<sender@example.org>",
    "RCPT TO:<a@x.example>",
  ]);
  expect(without.outcomes.some(({ dsnRelayed }) => dsnRelayed)).toBe(false);
});

test("SIZE tells the octets as stored; what is over the peer's limit is rejected unsent", async () => {
  const of = envelope(["a@x.example"], { content: content("x".repeat(90), "0123456789") });
  expect((await sent(of, ["SIZE 100"])).commands[0]).toBe(
    "MAIL FROM:<sender@example.org> SIZE=100",
  );
  expect((await sent(of, ["SIZE"])).commands[0]).toBe("MAIL FROM:<sender@example.org> SIZE=100");
  const { outcomes, commands } = await sent(of, ["SIZE 99"]);
  expect(shown(outcomes)).toEqual(["rejected 552 5.3.4"]);
  expect(commands).toEqual([]);
});

test("BODY=8BITMIME is said of declared content to those who know it", async () => {
  const of = envelope(["a@x.example"], { eightBit: true });
  expect((await sent(of, ["8BITMIME"])).commands[0]).toEndWith(" BODY=8BITMIME");
  expect((await sent(of, [])).commands[0]).toBe("MAIL FROM:<sender@example.org>");
  expect((await sent(envelope(["a@x.example"]), ["8BITMIME"])).commands[0]).not.toContain("BODY");
});

test("a foreign domain travels in A-labels and needs no SMTPUTF8", async () => {
  const of = envelope(["user@bücher.example"]);
  expect((await sent(of, ["SMTPUTF8"])).commands.slice(0, 2)).toEqual([
    "MAIL FROM:<sender@example.org>",
    "RCPT TO:<user@xn--bcher-kva.example>",
  ]);
});

test("a foreign local part needs SMTPUTF8, or is rejected alone", async () => {
  const of = envelope(["jürgen@x.example", "b@x.example"]);
  const able = await sent(of, ["SMTPUTF8", "8BITMIME"]);
  expect(able.commands.slice(0, 2)).toEqual([
    "MAIL FROM:<sender@example.org> SMTPUTF8",
    "RCPT TO:<jürgen@x.example>",
  ]);
  const unable = await sent(of, []);
  expect(shown(unable.outcomes)).toEqual(["rejected 550 5.6.7", "delivered 250 2.0.0"]);
  expect(unable.commands).not.toContain("RCPT TO:<jürgen@x.example>");

  const sender = await sent(envelope(["b@x.example"], { sender: "jürgen@x.example" }), []);
  expect(shown(sender.outcomes)).toEqual(["rejected 550 5.6.7"]);
});

test("foreign header fields need SMTPUTF8 when the client asked for it", async () => {
  const foreign = content("Subject: Grüße\r\n\r\nbody\r\n");
  const asked = envelope(["b@x.example"], { smtpUtf8: true, content: foreign });
  expect((await sent(asked, ["SMTPUTF8"])).commands[0]).toEndWith(" SMTPUTF8");
  expect(shown((await sent(asked, [])).outcomes)).toEqual(["rejected 550 5.6.7"]);
  const plain = envelope(["b@x.example"], {
    smtpUtf8: true,
    content: content("A: b\r\n\r\nü\r\n"),
  });
  expect((await sent(plain, ["SMTPUTF8"])).commands[0]).not.toContain("SMTPUTF8");
  const unasked = envelope(["b@x.example"], { content: foreign });
  expect(shown((await sent(unasked, [])).outcomes)).toEqual(["delivered 250 2.0.0"]);
});

test("an address never becomes more than one argument", async () => {
  const of = envelope([
    "a@x.example SIZE=1",
    "a@x.example>\r\nRCPT TO:<b@x.example",
    '"a b"@x.example',
  ]);
  const { outcomes, commands } = await sent(of, []);
  expect(shown(outcomes.toSorted((one, other) => one.recipient - other.recipient))).toEqual([
    "rejected 553 5.1.3",
    "rejected 553 5.1.3",
    "delivered 250 2.0.0",
  ]);
  expect(commands[1]).toBe('RCPT TO:<"a b"@x.example>');
  const sender = await sent(envelope(["b@x.example"], { sender: "a@b.c AUTH=<>" }), []);
  expect(shown(sender.outcomes)).toEqual(["rejected 553 5.1.7"]);
});

test("the null reverse-path is sent as such", async () => {
  const { commands } = await sent(envelope(["b@x.example"], { sender: "" }), []);
  expect(commands[0]).toBe("MAIL FROM:<>");
});

test("the same works over IPv6", async () => {
  const peer = await openPeer({ host: "::1" }).catch(() => undefined);
  if (!peer) return;
  const hosts = [{ host: "::1", port: peer.port, implicitTls: false }];
  const relay = openSmarthostRelay({ ...COURIER, hosts, tls: "none" }, realWorld);
  closing.push(peer, relay);
  expect(relay.destinationOf("x.example")).toBe(`smtp://[::1]:${peer.port}`);
  const [outcome] = await relay.deliver(delivery(envelope(["a@x.example"])), NEVER);
  expect(outcome).toMatchObject({ kind: "delivered", remote: { ip: "::1" } });
});

test("names are found through the hosts file of the system", async () => {
  const peer = await openPeer();
  const hosts = [{ host: "localhost", port: peer.port, implicitTls: false }];
  const relay = openSmarthostRelay({ ...COURIER, hosts, tls: "none" }, realWorld);
  closing.push(peer, relay);
  const [outcome] = await relay.deliver(delivery(envelope(["a@x.example"])), NEVER);
  expect(outcome).toMatchObject({
    kind: "delivered",
    remote: { host: "localhost", ip: "127.0.0.1" },
  });
});

test("nobody goes without an outcome, also when there is nobody to ask", async () => {
  const nowhere = { addresses: () => Promise.resolve({ kind: "found" as const, addresses: [] }) };
  for (const hosts of [[], [{ host: "mx.example", port: 25, implicitTls: false }]]) {
    const relay = openSmarthostRelay({ ...COURIER, hosts, tls: "none" }, realWorld, nowhere);
    const outcomes = await relay.deliver(delivery(envelope(["a@x.example", "b@x.example"])), NEVER);
    expect(shown(outcomes)).toEqual(["deferred 451 4.4.3", "deferred 451 4.4.3"]);
  }
});

test("a smarthost without an address is the operator's matter: deferred", async () => {
  for (const answer of [
    { kind: "no-name" as const },
    { kind: "failed" as const, detail: "SERVFAIL" },
  ]) {
    const resolver = { addresses: () => Promise.resolve(answer) };
    const hosts = [{ host: "mx.example", port: 25, implicitTls: false }];
    const relay = openSmarthostRelay({ ...COURIER, hosts, tls: "none" }, realWorld, resolver);
    const outcomes = await relay.deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(shown(outcomes)).toEqual(["deferred 451 4.4.3"]);
  }
});
