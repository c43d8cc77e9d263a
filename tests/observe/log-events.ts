import type { Event } from "../../src/observe/events.ts";

export const CLIENT = {
  ip: "192.0.2.9",
  host: "app.example",
  name: "helo.example",
  protocol: "ESMTPSA",
  auth: "robot",
  tls: "TLSv1.3 TLS_AES_256_GCM_SHA384",
};

const ID = "06CV2Q2M8Z000001";

export const ACCEPTED: Event = {
  kind: "accepted",
  id: ID,
  client: CLIENT,
  messageId: "<m1@app.example>",
  sender: "alice@example.org",
  size: 1234,
  recipientCount: 2,
  durationMs: 3,
};

export const SENT: Extract<Event, { kind: "delivery" }> = {
  kind: "delivery",
  id: ID,
  recipient: "Bob@example.net",
  domain: "example.net",
  destination: "example.net",
  status: "sent",
  reply: { code: 250, enhanced: "2.0.0", text: "Ok: queued as 4XyZ" },
  relay: "mx.example.net[192.0.2.1]:25",
  connectionUse: 1,
  attempt: 1,
  delayMs: 1204,
  delaysMs: [50, 10, 400, 740],
};

/** One event of every kind. */
export const EVERY_KIND: readonly Event[] = [
  ACCEPTED,
  SENT,
  {
    kind: "refused",
    client: CLIENT,
    command: "RCPT",
    reply: SENT.reply,
    sender: "a",
    recipient: "b",
  },
  { kind: "client", what: "connected", ip: "192.0.2.9", listener: "smtp" },
  { kind: "expired", id: ID, sender: "alice@example.org" },
  { kind: "notification", id: ID, notificationId: "06CV2Q2M8Z000009", action: "failed" },
  { kind: "removed", id: ID },
  { kind: "operator", action: "hold", subject: ID, count: 1 },
  { kind: "corrupt", subject: "seg1", movedTo: "corrupt/seg1", reason: "checksum" },
  { kind: "storage", state: "failing", operation: "write", reason: "ENOSPC" },
  { kind: "destination", destination: "example.net", state: "suspended", reason: "timeout" },
  { kind: "lifecycle", what: "ready", text: "0.1.0" },
];
