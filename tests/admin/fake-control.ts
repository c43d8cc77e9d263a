import type { ReadyReport } from "../../src/admin/ready.ts";
import { type AdminParts, adminRoutes } from "../../src/admin/routes.ts";
import type { SourceBody } from "../../src/mail/content.ts";
import type { Event } from "../../src/observe/events.ts";
import type { MessageDetail, QueueControl, QueueStatus } from "../../src/queue/control.ts";

export const NOW = Date.UTC(2026, 10, 22, 1, 2, 3);
export const IDS = ["06CV2Q2M8Z000001", "06CV2Q2M8Z000002", "06CV2Q2M8Z000003"] as const;

const bytes = (text: string) => new TextEncoder().encode(text);

/** A body that tells how often it was opened and how often it was given up or read to its end. */
export function countedBody(chunks: readonly Uint8Array[]) {
  const counts = { opened: 0, closed: 0, chunks: 0 };
  const body: SourceBody = {
    kind: "source",
    size: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    head: new Uint8Array(),
    async *stream() {
      counts.opened += 1;
      try {
        for (const chunk of chunks) {
          counts.chunks += 1;
          yield chunk;
        }
      } finally {
        counts.closed += 1;
      }
    },
  };
  return { body, counts };
}

export function detail(id: string, changes: Partial<MessageDetail> = {}): MessageDetail {
  return {
    id,
    state: "deferred",
    sender: "alice@example.org",
    size: 10_240,
    receivedAt: NOW - 11_520_000,
    due: NOW + 300_000,
    attempts: 4,
    domain: "example.net",
    recipientCount: 3,
    delayNotified: false,
    expiresAt: NOW + 400_000_000,
    envelope: {
      sender: "alice@example.org",
      recipients: [
        { index: 0, address: "Bob@Example.NET", notify: ["FAILURE", "DELAY"], orcpt: "rfc822;b@x" },
        { index: 2, address: "carol@example.net" },
      ],
      content: {
        prefix: bytes("Received: by us\r\n"),
        body: { kind: "bytes", bytes: bytes("Subject: hi\r\n\r\nhello\r\n") },
      },
      client: { ip: "127.0.0.1", host: "localhost", name: "app.example", protocol: "ESMTP" },
      receiver: "mail.example",
      receivedAt: NOW - 11_520_000,
      dsn: {},
      eightBit: false,
      smtpUtf8: false,
    },
    original: [
      { index: 0, address: "Bob@Example.NET", notify: ["FAILURE", "DELAY"], orcpt: "rfc822;b@x" },
      { index: 1, address: "dave@example.net" },
      { index: 2, address: "carol@example.net" },
    ],
    recipients: [
      {
        index: 0,
        status: "pending",
        reply: { code: 450, enhanced: "4.2.0", text: "Greylisted, try again in five minutes" },
        relay: "mx.example.net[192.0.2.1]:25",
      },
      { index: 1, status: "delivered", reply: { code: 250, enhanced: "2.0.0", text: "Ok" } },
    ],
    ...changes,
  };
}

export const STATUS: QueueStatus = {
  size: 12_345,
  states: { incoming: 2, active: 20, deferred: 12_300, hold: 23 },
  bytes: 1_288_490_188,
  oldestAt: NOW - 11_520_000,
  corrupt: 0,
  delivering: 20,
  waiting: 160,
  nextDue: NOW + 12_000,
  connections: { open: 25, idle: 5 },
  destinations: [
    {
      destination: "gmail.com",
      delivering: 20,
      waiting: 40,
      limit: 20,
      suspendedUntil: null,
      lastFailure: null,
    },
    {
      destination: "example.org",
      delivering: 0,
      waiting: 120,
      limit: 1,
      suspendedUntil: NOW + 240_000,
      lastFailure:
        "connect to mx.example.org[198.51.100.7]:25: Connection timed out, and nobody else of 3 hosts answered either",
    },
  ],
  refusal: undefined,
};

export const READY: ReadyReport = { status: "ready", checks: { spool: "ok", smtp: "ok" } };

/** A queue of a few messages that remembers what it was asked. */
export function fakeControl(changes: Partial<QueueControl> = {}) {
  const calls: unknown[][] = [];
  const messages = new Map<string, MessageDetail>(IDS.map((id) => [id, detail(id)]));
  const verb = (name: string) => async (id: string) => {
    calls.push([name, id]);
    return messages.has(id);
  };
  const control: QueueControl = {
    status: async () => STATUS,
    list: async (query) => {
      calls.push(["list", query]);
      const after = [...messages.values()].filter(({ id }) => id > (query.after ?? ""));
      return after.slice(0, query.limit);
    },
    show: async (id) => messages.get(id),
    retry: verb("retry"),
    hold: verb("hold"),
    release: verb("release"),
    remove: verb("remove"),
    bounce: verb("bounce"),
    flush: async (...selector) => {
      calls.push(["flush", ...selector]);
      return 7;
    },
    each: async (name, selector) => {
      calls.push(["each", name, selector]);
      return 3;
    },
    ...changes,
  };
  return { control, calls, messages };
}

export function fakeApp(
  options: { control?: Partial<QueueControl>; parts?: Partial<AdminParts> } = {},
) {
  const fake = fakeControl(options.control);
  const events: Event[] = [];
  const app = adminRoutes(fake.control, {
    metrics: async () => "# nothing\n",
    totals: () => ({
      accepted: 1_234_567,
      acceptedBytes: 9_876_543_210,
      refused: 12,
      sent: 1_222_333,
      deferred: 2222,
      bounced: 12,
      expired: 1,
    }),
    ready: async () => READY,
    version: "0.1.0",
    hostname: "mail.example.org",
    startedAt: NOW - 273_600_000,
    token: undefined,
    hosts: [],
    clock: { now: () => NOW, after: () => () => undefined },
    emit: (event) => events.push(event),
    ...options.parts,
  });
  return { app, events, ...fake };
}
