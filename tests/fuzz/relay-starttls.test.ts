import { beforeAll, expect, test } from "bun:test";
import { openPeer } from "../relay/fake-peer.ts";
import { content, delivery, envelope, NEVER, relayTo } from "../relay/fixtures.ts";
import { makeCertificate } from "../support/certificate.ts";
import { REPLY_TOKENS } from "./relay-hostility.ts";
import { below, bytesOf, mutator, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

/** What somebody between client and peer may want to be taken for a reply to what is said behind the handshake. */
const INJECTED = [
  "250 evil.example\r\n",
  "250-evil.example\r\n250 SIZE 1\r\n",
  "250-evil.example\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
  "250-evil.example\r\n",
  "250 2.1.0 Ok\r\n",
  "354 go\r\n",
  "421 4.3.2 bye\r\n",
  "550 5.7.1 no\r\n",
  "220 evil.example ESMTP\r\n",
  "25",
];

const MESSAGE = "Subject: secret\r\n\r\nhello\r\n";

let certificate: { readonly key: string; readonly cert: string };
beforeAll(async () => {
  certificate = await makeCertificate("peer.example");
});

/** Delivers a message to a peer whose reply to STARTTLS somebody has added to. */
async function attack(injected: string): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const peer = await openPeer({
    tls: certificate,
    on: (command) => (command === "STARTTLS" ? `220 2.0.0 go\r\n${injected}` : undefined),
  });
  stack.defer(() => peer.close());
  const relay = relayTo(peer.port, { tls: "required" });
  stack.defer(() => relay.close());
  const of = envelope(["a@example.com"], { content: content(MESSAGE) });
  const [outcome] = await relay.deliver(delivery(of), NEVER);
  const [transcript, ...others] = peer.transcripts;
  const told = { outcome, commands: transcript?.commands, injected };
  expect(told).toMatchObject({
    outcome: { kind: "delivered", reply: { text: "Ok: queued as 12345" } },
    commands: [
      expect.stringMatching(/^EHLO /u),
      "STARTTLS",
      expect.stringMatching(/^EHLO /u),
      "MAIL FROM:<sender@example.org>",
      "RCPT TO:<a@example.com>",
      "DATA",
    ],
  });
  expect(transcript?.messages.map(String)).toEqual([MESSAGE]);
  expect(others).toEqual([]);
}

test(
  "no reply that came in clear text has any effect behind the handshake",
  async () => {
    await rounds(60, async (random) => {
      const texts = Array.from({ length: 1 + below(random, 3) }, () => pick(random, INJECTED));
      const isPlain = random() < 0.5;
      const bytes = bytesOf(...texts);
      const injected = isPlain ? bytes : mutator(random, REPLY_TOKENS)(bytes);
      await attack(Buffer.from(injected).toString("latin1"));
    });
  },
  FUZZ_TIMEOUT_MS,
);
