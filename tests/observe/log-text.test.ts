import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Event } from "../../src/observe/events.ts";
import { jsonLines } from "../../src/observe/log-json.ts";
import { textLines } from "../../src/observe/log-text.ts";
import { ACCEPTED, CLIENT, EVERY_KIND, SENT } from "./log-events.ts";

const NOW = Date.UTC(2026, 10, 2, 1, 2, 3, 45);
const bare = textLines({ stamp: "none", name: "slimta-queue", host: "mx", pid: 7 });
const text = (event: Event) => bare(event, NOW);
const json = jsonLines({ name: "slimta-queue", host: "mx", pid: 7 });

test("an accepted message is the three lines of smtpd, cleanup and qmgr", () => {
  expect(text(ACCEPTED)).toBe(
    "slimta-queue/smtpd[7]: 06CV2Q2M8Z000001: client=app.example[192.0.2.9], sasl_username=robot\n" +
      "slimta-queue/cleanup[7]: 06CV2Q2M8Z000001: message-id=<m1@app.example>\n" +
      "slimta-queue/qmgr[7]: 06CV2Q2M8Z000001: from=<alice@example.org>, size=1234, nrcpt=2 (queue active)\n",
  );
});

test("mail that was made here has no client line, a split part names the first", () => {
  const { auth: _, ...client } = CLIENT;
  expect(text({ ...ACCEPTED, client: { ...client, protocol: "LOCAL" } } as Event)).toStartWith(
    "slimta-queue/cleanup[7]: ",
  );
  expect(text({ ...ACCEPTED, client, firstId: "06CV2Q2M8Z000000" } as Event)).toStartWith(
    "slimta-queue/smtpd[7]: 06CV2Q2M8Z000001: client=app.example[192.0.2.9], orig_queue_id=06CV2Q2M8Z000000\n",
  );
});

const HEAD = "slimta-queue/smtp[7]: 06CV2Q2M8Z000001: to=<Bob@example.net>, ";

test("deliveries have Postfix's keys in Postfix's order", () => {
  expect(text(SENT)).toBe(
    `${HEAD}relay=mx.example.net[192.0.2.1]:25, delay=1.2, delays=0.05/0.01/0.4/0.74, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4XyZ)\n`,
  );
  expect(text({ ...SENT, connectionUse: 2 })).toContain(":25, conn_use=2, delay=");
});

test("a failure says who said it, and that nobody was reached", () => {
  const reply = { code: 550, enhanced: "5.1.1", text: "No such user" };
  expect(text({ ...SENT, status: "bounced", reply, command: "RCPT TO" })).toEndWith(
    "dsn=5.1.1, status=bounced (host mx.example.net[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO command))\n",
  );
  expect(text({ ...SENT, status: "bounced", reply, command: "end of DATA" })).toEndWith(
    "(in reply to end of DATA command))\n",
  );
  const timeout = { code: 421, enhanced: "4.4.1", text: "connect to mx: Connection timed out" };
  expect(text({ ...SENT, status: "deferred", reply: timeout, relay: "none" })).toEndWith(
    "relay=none, delay=1.2, delays=0.05/0.01/0.4/0.74, dsn=4.4.1, status=deferred (connect to mx: Connection timed out)\n",
  );
});

const REFUSED = {
  kind: "refused",
  client: CLIENT,
  command: "RCPT",
  reply: { code: 454, enhanced: "4.7.1", text: "<x@y>: Relay access denied" },
} as const;

const SMALL: readonly (readonly [Event, string])[] = [
  [{ kind: "removed", id: "A1" }, "qmgr[7]: A1: removed"],
  [
    { kind: "expired", id: "A1", sender: "" },
    "qmgr[7]: A1: from=<>, status=expired, returned to sender",
  ],
  [
    { kind: "notification", id: "A1", notificationId: "B2", action: "failed" },
    "bounce[7]: A1: sender non-delivery notification: B2",
  ],
  [
    { kind: "notification", id: "A1", notificationId: "B2", action: "delayed" },
    "bounce[7]: A1: sender delay notification: B2",
  ],
  [
    { ...REFUSED, sender: "", recipient: "x@y" },
    "smtpd[7]: NOQUEUE: reject: RCPT from app.example[192.0.2.9]: 454 4.7.1 <x@y>: Relay access denied; from=<> to=<x@y> proto=ESMTPSA helo=<helo.example>",
  ],
  [
    { ...REFUSED, command: "CONNECT" },
    "smtpd[7]: NOQUEUE: reject: CONNECT from app.example[192.0.2.9]: 454 4.7.1 <x@y>: Relay access denied; proto=ESMTPSA helo=<helo.example>",
  ],
  [
    { ...REFUSED, command: "AUTH LOGIN" },
    "smtpd[7]: warning: app.example[192.0.2.9]: SASL LOGIN authentication failed: 454 4.7.1 <x@y>: Relay access denied",
  ],
  [
    { kind: "client", what: "connected", ip: "::1", listener: "smtp" },
    "smtpd[7]: connect from unknown[::1]",
  ],
  [
    { kind: "client", what: "lost", ip: "::1", listener: "smtp", detail: "RCPT" },
    "smtpd[7]: lost connection after RCPT from unknown[::1]",
  ],
  [
    { kind: "client", what: "lost", ip: "::1", listener: "smtp", detail: "after DATA" },
    "smtpd[7]: lost connection after DATA from unknown[::1]",
  ],
  [
    { kind: "client", what: "timeout", ip: "::1", listener: "smtp" },
    "smtpd[7]: timeout after UNKNOWN from unknown[::1]",
  ],
  [
    { kind: "client", what: "tls-failed", ip: "::1", listener: "smtp", detail: "no shared cipher" },
    "smtpd[7]: SSL_accept error from unknown[::1]: no shared cipher",
  ],
  [{ kind: "operator", action: "hold", subject: "A1", count: 1 }, "admin[7]: A1: placed on hold"],
  [
    { kind: "operator", action: "flush", subject: "all", count: 12 },
    "admin[7]: all: flushed (12 messages)",
  ],
];

test.each(SMALL)("%j", (event, line) => {
  expect(text(event)).toBe(`slimta-queue/${line}\n`);
});

test("stamps are RFC 3339, or those of syslog in local time, and have the host", () => {
  const rfc3339 = textLines({ stamp: "rfc3339", name: "slimta-queue", host: "mx", pid: 7 });
  expect(rfc3339({ kind: "removed", id: "A1" }, NOW)).toBe(
    "2026-11-02T01:02:03.045Z mx slimta-queue/qmgr[7]: A1: removed\n",
  );
  const syslog = textLines({ stamp: "syslog", name: "slimta-queue", host: "mx", pid: 7 });
  const local = new Date(2026, 10, 2, 1, 2, 3).getTime();
  expect(syslog({ kind: "removed", id: "A1" }, local)).toStartWith("Nov  2 01:02:03 mx slimta-");
  expect(syslog({ kind: "removed", id: "A1" }, local + 1000)).toStartWith("Nov  2 01:02:04 mx ");
});

// biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
const UNSAFE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/u;

/** The event with every text of foreign origin replaced. */
function poisoned(event: Event, poison: string): Event {
  const foreign = new Set(
    "messageId sender recipient detail subject reason text name host ip auth destination relay command operation movedTo listener".split(
      " ",
    ),
  );
  const replace = (_: string, value: unknown): unknown =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(
          Object.entries(value).map(([name, one]) => [
            name,
            foreign.has(name) && typeof one === "string" ? poison : one,
          ]),
        )
      : value;
  return JSON.parse(JSON.stringify(event, replace)) as Event;
}

test("no text of foreign origin makes a line, ends brackets or reaches a terminal raw", () => {
  const nasty = fc.array(
    fc.constantFrom(
      "\n",
      "\r",
      "\0",
      "\u001b[2J",
      "\u2028",
      "\u202e",
      "\u009b",
      ">",
      "<",
      " ",
      "x",
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(fc.constantFrom(...EVERY_KIND), nasty, (event, parts) => {
      const lines = text(event).split("\n").length;
      const attacked = poisoned(event, parts.join(""));
      for (const output of [text(attacked), json(attacked, NOW)]) {
        expect(output.split("\n")).toHaveLength(lines);
        expect(output).not.toMatch(UNSAFE);
      }
    }),
  );
});

test("an address cannot pretend to be the rest of its line", () => {
  const forged = text({ ...SENT, recipient: '"a>, status=sent (250 "@x' });
  expect(forged).toContain('to=<"a?, status=sent (250 "@x>, relay=');
});

test("no secret: arguments of AUTH and passwords in URLs are not written", () => {
  const auth = { ...REFUSED, command: "AUTH PLAIN AGFsaWNlAHNlY3JldA==" } as const;
  const reason = "connect smtp://bob:hunter2@relay.example failed";
  const storage = { kind: "storage", state: "failing", operation: "write", reason } as const;
  for (const event of [auth, storage] as const) {
    for (const line of [text(event), json(event, NOW)]) {
      expect(line).not.toContain("AGFsaWNl");
      expect(line).not.toContain("hunter2");
      expect(line).not.toContain("bob");
    }
  }
  expect(text(auth)).toContain("SASL PLAIN authentication failed");
});

test("JSON has the same facts under the same keys, one object a line", () => {
  const lines = json(ACCEPTED, NOW).trimEnd().split("\n");
  const [client, cleanup, queued] = lines.map((line) => JSON.parse(line));
  expect(client).toMatchObject({
    time: "2026-11-02T01:02:03.045Z",
    service: "slimta-queue/smtpd",
    id: "06CV2Q2M8Z000001",
    client: "app.example[192.0.2.9]",
    sasl_username: "robot",
  });
  expect(cleanup["message-id"]).toBe("<m1@app.example>");
  expect(queued).toMatchObject({ from: "alice@example.org", size: 1234, nrcpt: 2 });
  expect(JSON.parse(json(SENT, NOW))).toMatchObject({
    to: "Bob@example.net",
    relay: "mx.example.net[192.0.2.1]:25",
    delay: 1.204,
    delays: [0.05, 0.01, 0.4, 0.74],
    dsn: "2.0.0",
    status: "sent",
    reply: "250 2.0.0 Ok: queued as 4XyZ",
  });
});

test("every kind of event has as many lines in JSON as in text", () => {
  for (const event of EVERY_KIND) {
    const lines = json(event, NOW).trimEnd().split("\n");
    expect(lines).toHaveLength(text(event).trimEnd().split("\n").length);
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty("event");
  }
});
