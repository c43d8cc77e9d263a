import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Event } from "../../src/observe/events.ts";
import { jsonLines } from "../../src/observe/log-json.ts";
import { textLines } from "../../src/observe/log-text.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

const NAMES = { name: "slimta-queue", host: "mx.example", pid: 7 };
const inText = textLines({ ...NAMES, stamp: "none" });
const inJson = jsonLines(NAMES);

/** What would forge a line, a key or a colour if it came through as it is. */
const FORGED = [
  "\n",
  "\r\n",
  "x\nslimta-queue/qmgr[7]: 0123456789ABCDEF: removed",
  "a>, status=sent (250 ok)",
  "a>, relay=forged",
  "\u001b[2J",
  "\u009b2J",
  "\u2028",
  "\u0085",
  "\u202e",
  "[10.0.0.1]: SASL PLAIN authentication failed",
  "a b=c",
  ", dsn=2.0.0, status=sent (ok)",
  ") status=bounced (",
  '"',
  "\\",
  "\ud800",
  "\u0000",
  "é",
  "x".repeat(5000),
  "=",
  "<",
  ">",
  "a; from=<b> to=<c>",
  "%s",
];
const wild = fc.oneof(
  fc.constantFrom(...FORGED),
  fc
    .array(fc.oneof(fc.constantFrom(...FORGED), fc.string({ unit: "binary", maxLength: 8 })), {
      maxLength: 4,
    })
    .map((all) => all.join("")),
);
const id = fc.constant("0123456789ABCDEF");
const reply = fc.record({
  code: fc.constantFrom(250, 450, 550),
  enhanced: fc.constantFrom("2.0.0", "4.2.0", "5.1.1"),
  text: wild,
});
const client = fc.record(
  {
    ip: wild,
    host: wild,
    name: wild,
    protocol: fc.constantFrom("ESMTP", "SMTP", "LOCAL"),
    auth: wild,
    tls: fc.constant("TLSv1.3 X"),
  },
  { requiredKeys: ["ip", "host", "name", "protocol"] },
);
const ms = fc.oneof(fc.integer({ min: -5, max: 1e9 }), fc.constant(0));
const kind = <K extends Event["kind"]>(name: K) => fc.constant(name);

/** Every kind of event, with hostile text wherever somebody else has a say. */
const events: { readonly [K in Event["kind"]]: fc.Arbitrary<Event> } = {
  accepted: fc.record({
    kind: kind("accepted"),
    id,
    client,
    messageId: wild,
    sender: wild,
    size: fc.nat(),
    recipientCount: fc.nat(),
    durationMs: ms,
  }),
  refused: fc.record({
    kind: kind("refused"),
    client,
    command: wild,
    reply,
    sender: wild,
    recipient: wild,
  }),
  client: fc.record({
    kind: kind("client"),
    what: fc.constantFrom("connected", "disconnected", "lost", "timeout", "tls-failed"),
    ip: wild,
    listener: wild,
    detail: wild,
  }),
  delivery: fc.record(
    {
      kind: kind("delivery"),
      id,
      recipient: wild,
      domain: wild,
      destination: wild,
      status: fc.constantFrom("sent", "deferred", "bounced"),
      reply,
      command: wild,
      relay: wild,
      connectionUse: fc.integer({ min: 1, max: 3 }),
      attempt: fc.nat(),
      delayMs: ms,
      delaysMs: fc.tuple(ms, ms, ms, ms),
      nextAt: fc.constantFrom(0, 8.64e15, Number.NaN, 1e300),
    },
    {
      requiredKeys: [
        "kind",
        "id",
        "recipient",
        "domain",
        "destination",
        "status",
        "reply",
        "relay",
        "connectionUse",
        "attempt",
        "delayMs",
        "delaysMs",
      ],
    },
  ),
  expired: fc.record({ kind: kind("expired"), id, sender: wild }),
  notification: fc.record({
    kind: kind("notification"),
    id,
    notificationId: id,
    action: fc.constantFrom("failed", "delayed", "delivered", "relayed"),
  }),
  removed: fc.record({ kind: kind("removed"), id }),
  operator: fc.record({
    kind: kind("operator"),
    action: fc.constantFrom("retry", "hold", "flush"),
    subject: wild,
    count: fc.nat(),
  }),
  corrupt: fc.record({ kind: kind("corrupt"), subject: wild, movedTo: wild, reason: wild }),
  storage: fc.record({
    kind: kind("storage"),
    state: fc.constantFrom("failing", "recovered"),
    operation: wild,
    reason: wild,
  }),
  destination: fc.record({
    kind: kind("destination"),
    destination: wild,
    state: fc.constantFrom("suspended", "resumed"),
    reason: wild,
  }),
  lifecycle: fc.record({
    kind: kind("lifecycle"),
    what: fc.constantFrom("starting", "warning", "error"),
    text: wild,
  }),
};

/** Lines of each kind: accepted mail has three, or two when it was made here. */
const LINES_MAX = 3;
const BYTES_MAX = 16 * 1024;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const OBEYED = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;
const SERVICE = /^slimta-queue\/(?:smtpd|cleanup|qmgr|smtp|bounce|admin|master)\[7\]: /u;

for (const [name, event] of Object.entries(events)) {
  test(
    `whatever others say, the log of "${name}" has its own lines, keys and order`,
    async () => {
      await rounds(1, (_, seed) => {
        fc.assert(
          fc.property(event, (given) => {
            judgeText(given);
            judgeJson(given);
          }),
          { numRuns: 400, seed },
        );
      });
    },
    FUZZ_TIMEOUT_MS,
  );
}

function judgeText(event: Event): void {
  const text = inText(event, 0);
  expect(text).toEndWith("\n");
  expect(text.length).toBeLessThan(BYTES_MAX);
  const lines = text.slice(0, -1).split("\n");
  expect(lines.length).toBeLessThanOrEqual(event.kind === "accepted" ? LINES_MAX : 1);
  for (const line of lines) {
    expect(line).toMatch(SERVICE);
    expect(line).not.toMatch(OBEYED);
  }
  if (event.kind === "delivery") judgeDelivery(lines[0] ?? "");
  if (event.kind === "refused" && !event.command.startsWith("AUTH")) {
    expect(lines[0]).toMatch(
      /^[^;<=]*: (?:(?!=<).)*; from=<[^<>]*> to=<[^<>]*> proto=(?:E?SMTP|LOCAL)(?: helo=<[^<>]*>)?$/u,
    );
  }
}

/** Read from the left, as pflogsumm and fail2ban do: only the reply at the end is somebody else's. */
function judgeDelivery(line: string): void {
  const keys =
    /^[^:]*: 0123456789ABCDEF: to=<[^<>]*>, relay=[^\s,=<>()]*(?:, conn_use=\d+)?, delay=[\d.]+, delays=[\d./]+, dsn=\d\.\d\.\d, status=(?:sent|deferred|bounced) \(.*\)$/u;
  expect(line).toMatch(keys);
}

function judgeJson(event: Event): void {
  const text = inJson(event, 0);
  for (const line of text.slice(0, -1).split("\n")) {
    expect(line).not.toMatch(OBEYED);
    const fact = JSON.parse(line) as Record<string, unknown>;
    expect(fact).toMatchObject({ host: "mx.example", pid: 7 });
    expect(String(fact.service)).toStartWith("slimta-queue/");
  }
}
