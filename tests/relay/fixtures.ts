import { realWorld, type World } from "../../src/lib/world.ts";
import type { Content } from "../../src/mail/content.ts";
import type { Envelope, Recipient } from "../../src/mail/envelope.ts";
import type { CourierOptions } from "../../src/relay/courier.ts";
import type { Delivery, Outcome, Relay } from "../../src/relay/relay.ts";
import { openSmarthostRelay, type SmarthostOptions } from "../../src/relay/smarthost.ts";

/** Long enough for loopback under load, and never reached unless a test says so. */
export const PATIENT = {
  connectMs: 20_000,
  greetingMs: 20_000,
  commandMs: 20_000,
  dataMs: 20_000,
  dataBlockMs: 20_000,
  dataEndMs: 20_000,
  quitMs: 200,
};

/** Every stall ends soon. */
export const HASTY = {
  connectMs: 150,
  greetingMs: 150,
  commandMs: 150,
  dataMs: 150,
  dataBlockMs: 150,
  dataEndMs: 150,
  quitMs: 50,
};

export const COURIER: CourierOptions = {
  ownName: "relay.example",
  timeouts: PATIENT,
  tlsVersionMin: "TLSv1.2",
  allowClearTextAuth: false,
  messagesPerConnectionMax: 100,
  idleMs: 60_000,
  idleConnectionsMax: 10,
  addressesMax: 5,
  prefer: "any",
};

export const BODY = "Subject: hello\r\n\r\nfirst\r\n.leading dot\r\n..two\r\n\r\nlast\r\n";

export function content(body: string | Uint8Array, prefix = ""): Content {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return { prefix: new TextEncoder().encode(prefix), body: { kind: "bytes", bytes } };
}

/** An envelope for these recipients; indexes have gaps, as after a partial delivery. */
export function envelope(
  to: readonly (string | Partial<Recipient>)[],
  more: Partial<Envelope> = {},
): Envelope {
  return {
    sender: "sender@example.org",
    recipients: to.map((one, index) => ({
      index: index * 2 + 1,
      address: `user${index}@example.com`,
      ...(typeof one === "string" ? { address: one } : one),
    })),
    content: content(BODY),
    client: { ip: "127.0.0.1", host: "localhost", name: "client", protocol: "ESMTP" },
    receiver: "relay.example",
    receivedAt: 0,
    dsn: {},
    eightBit: false,
    smtpUtf8: false,
    ...more,
  };
}

export function delivery(of: Envelope): Delivery {
  return { id: "0123456789ABCDEF", envelope: of, attempts: 0 };
}

export const NEVER = new AbortController().signal;

/** A relay to one or more ports of 127.0.0.1. */
export function relayTo(
  ports: number | readonly number[],
  more: Partial<SmarthostOptions> = {},
  world: World = realWorld,
): Relay {
  const hosts = [ports].flat().map((port) => ({ host: "127.0.0.1", port, implicitTls: false }));
  return openSmarthostRelay({ ...COURIER, hosts, tls: "none", ...more }, world);
}

/** `kind code enhanced` for each recipient. */
export function shown(outcomes: readonly Outcome[]): string[] {
  return outcomes.map(({ kind, reply }) => `${kind} ${reply.code} ${reply.enhanced}`);
}
