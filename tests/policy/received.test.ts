import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Client, Envelope } from "../../src/mail/envelope.ts";
import { headerOf } from "../../src/mail/header.ts";
import { addReceivedHeader } from "../../src/policy/received.ts";
import { context, envelopeTo, textOf } from "./fixtures.ts";

const MESSAGE = "Subject: hello\r\n\r\nHello\r\n";
const DATE = "Wed, 02 Jan 2030 03:04:05 +0000";

function received(change: Partial<Envelope>, client: Partial<Client> = {}): string {
  const envelope = { ...envelopeTo(["bob@x.example"], MESSAGE), ...change };
  const [made = envelope] =
    addReceivedHeader({ ...envelope, client: { ...envelope.client, ...client } }, context) ?? [];
  expect(textOf(made)).toEndWith(MESSAGE);
  return textOf(made).slice(0, -MESSAGE.length);
}

test("names the client, the host, the protocol, the id and the only recipient", () => {
  expect(received({})).toBe(
    "Received: from client.example (unknown [192.0.2.7])\r\n" +
      "\tby edge.example (slimta-queue) with ESMTP id 0123456789ABCDEF\r\n" +
      `\tfor <bob@x.example>;\r\n\t${DATE}\r\n`,
  );
});

test("several recipients do not learn of each other", () => {
  const { recipients } = envelopeTo(["bob@x.example", "carol@y.example"], "");
  expect(received({ recipients })).not.toMatch(/for|bob|carol/u);
});

test("an IPv6 client has a tagged literal, TLS is told, the identity is not", () => {
  const header = received(
    {},
    {
      ip: "2001:db8::1",
      host: "client.example",
      name: "[IPv6:2001:DB8::1]",
      protocol: "ESMTPSA",
      tls: "TLSv1.3 TLS_AES_256_GCM_SHA384",
      auth: "secret-user",
    },
  );
  expect(header).toStartWith(
    "Received: from [IPv6:2001:DB8::1] (client.example [IPv6:2001:db8::1])\r\n" +
      "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n" +
      "\tby edge.example (slimta-queue) with ESMTPSA id",
  );
  expect(header).not.toContain("secret-user");
});

test("what was made here came from nobody by no protocol", () => {
  const header = "Received: by edge.example (slimta-queue) id 0123456789ABCDEF\r\n";
  expect(received({}, { ip: "127.0.0.1", protocol: "LOCAL" })).toStartWith(header);
  expect(received({}, { ip: "", protocol: "LOCAL" })).toStartWith(header);
});

test("a client without a usable name is unknown, an international one has A-labels", () => {
  expect(received({}, { name: "" })).toStartWith("Received: from unknown (");
  expect(received({}, { name: "bücher.example" })).toStartWith(
    "Received: from xn--bcher-kva.example (",
  );
});

test("an international recipient is named only in international mail", () => {
  const { recipients } = envelopeTo(["böb@x.example"], "");
  expect(received({ recipients })).not.toContain("for");
  expect(received({ recipients, smtpUtf8: true })).toContain("\tfor <böb@x.example>;");
});

describe("whatever a client says", () => {
  const anything = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("a\r\nBcc: x", "a\nb", "(", ")", "a;b", "\r\n\r\n", "x".repeat(5000), "\u2028"),
  );

  test("stays in one field of short ASCII lines", () => {
    fc.assert(
      fc.property(anything, anything, anything, anything, anything, (name, host, ip, tls, to) => {
        const { recipients } = envelopeTo([to], "");
        const header = received({ recipients }, { name, host, ip, tls, protocol: name });
        expect(header).toMatch(/^(?:[\t -~]+\r\n)+$/u);
        for (const line of header.split("\r\n")) expect(line.length).toBeLessThanOrEqual(998);
        const envelope = envelopeTo([], header);
        expect(headerOf(envelope.content)).toMatchObject({
          receivedCount: 1,
          headerEnd: header.length,
        });
        expect(
          header
            .split("\r\n")
            .slice(1, -1)
            .every((line) => line.startsWith("\t")),
        ).toBe(true);
      }),
    );
  });

  test("its names do not open, close or end anything", () => {
    fc.assert(
      fc.property(anything, anything, anything, (name, host, tls) => {
        const header = received({}, { name, host, tls });
        expect(header.match(/[()]/gu)).toHaveLength(6);
        expect(header.match(/;/gu)).toHaveLength(1);
      }),
    );
  });
});
