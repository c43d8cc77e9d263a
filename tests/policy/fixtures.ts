import { bytesContent, contentHead } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import type { PolicyContext } from "../../src/policy/policy.ts";

export const RECEIVED_AT = Date.UTC(2030, 0, 2, 3, 4, 5);

export const context: PolicyContext = {
  id: "0123456789ABCDEF",
  now: RECEIVED_AT + 250,
  hostname: "edge.example",
};

/** An envelope to these recipients with this message. */
export function envelopeTo(addresses: readonly string[], message: string): Envelope {
  return {
    sender: "alice@sender.example",
    recipients: addresses.map((address, index) => ({ index, address })),
    content: bytesContent(new TextEncoder().encode(message)),
    client: { ip: "192.0.2.7", host: "unknown", name: "client.example", protocol: "ESMTP" },
    receiver: "edge.example",
    receivedAt: RECEIVED_AT,
    dsn: {},
    eightBit: false,
    smtpUtf8: false,
  };
}

/** The whole message as text. */
export function textOf({ content }: Envelope): string {
  return new TextDecoder().decode(contentHead(content));
}
