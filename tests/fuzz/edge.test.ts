import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { allScripts } from "../dialogues/support/library.ts";
import { contentOf, startEdge } from "../edge/edge-fixture.ts";
import { seededRandom } from "../support/seeded.ts";
import { until } from "../support/until.ts";
import { draw } from "./edge-grammar.ts";
import { expectFitting } from "./edge-model.ts";
import { type Conversation, converse, crumbs, cut, LIMITS, type Manner } from "./edge-session.ts";
import { corpus } from "./support/corpus.ts";
import { below, bytesOf, mutator, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

const TOKENS = [
  ...[
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\xff",
    ".",
    "..",
    "\r\n.\r\n",
    "\n.\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n\0.\r\n",
    "\x85",
  ],
  ...[
    "EHLO x\r\n",
    "MAIL FROM:<a@example.com>\r\n",
    "RCPT TO:<b@example.net>\r\n",
    "DATA\r\n",
    "QUIT\r\n",
    "RSET\r\n",
  ],
  ...[
    "STARTTLS\r\n",
    "GET / HTTP/1.1\r\n",
    " SIZE=",
    " BODY=",
    " NOTIFY=",
    "ORCPT=rfc822;",
    " SMTPUTF8",
    "<",
    ">",
    '"',
    "@",
    "\\",
  ],
  ...[
    "[IPv6:",
    "+0D",
    "\xe2\x80\xa8",
    "\xc2\x85",
    "%",
    " ",
    "\t",
    ":",
    "x".repeat(4100),
    "\x1b]0;",
  ],
];

const seeds = [
  ...allScripts().map(({ script: { steps } }) =>
    bytesOf(...steps.map((step) => (step.kind === "send" ? step.bytes : ""))),
  ),
].filter(({ length }) => length < 20_000);

function anyManner(random: () => number): Manner {
  return {
    bareLineEnds: pick(random, ["normalise", "normalise", "refuse"]),
    nulBytes: pick(random, ["accept", "accept", "refuse"]),
    trusted: random() < 0.9,
  };
}

/** The same bytes in other pieces must come to the same. */
async function expectSameInPieces(
  random: () => number,
  manner: Manner,
  bytes: Uint8Array,
  whole: Conversation,
): Promise<void> {
  const ways = [cut(random, bytes), cut(random, bytes)];
  if (bytes.length < 4000) ways.push(crumbs(bytes));
  for (const pieces of ways) {
    const isPatient = random() < 0.5;
    expect(await converse(manner, { pieces, isPatient })).toEqual(whole);
  }
}

/** A client that vanishes somewhere: what was accepted is what would have been, and nothing else. */
async function expectNoHalves(
  random: () => number,
  manner: Manner,
  bytes: Uint8Array,
  whole: Conversation,
): Promise<void> {
  const pieces = cut(random, bytes.subarray(0, below(random, bytes.length + 1)));
  const { accepted } = await converse(manner, {
    pieces,
    isPatient: random() < 0.8,
    vanishes: true,
  });
  expect(accepted).toEqual(whole.accepted.slice(0, accepted.length));
}

async function attack(random: () => number, manner: Manner, bytes: Uint8Array): Promise<void> {
  const whole = await converse(manner, { pieces: [bytes], isPatient: true });
  expectFitting(bytes, manner, whole);
  await expectSameInPieces(random, manner, bytes, whole);
  await expectNoHalves(random, manner, bytes, whole);
}

describe("samples that once found something", () => {
  for (const { name, bytes } of corpus("edge")) {
    test(name, async () => {
      for (const bareLineEnds of ["normalise", "refuse"] as const) {
        const manner: Manner = { bareLineEnds, nulBytes: "accept", trusted: true };
        await attack(seededRandom(1), manner, bytes);
      }
    });
  }
});

test(
  "conversations out of the grammar are answered as the model says, however they are split",
  async () => {
    let messages = 0;
    await rounds(600, async (random) => {
      const manner = anyManner(random);
      const { bytes, codes, accepted } = draw(random, manner);
      const whole = await converse(manner, { pieces: [bytes], isPatient: true });
      expect(whole.replies.map((reply) => Number(reply.slice(0, 3)))).toEqual([...codes]);
      expect(whole.accepted).toEqual([...accepted]);
      expectFitting(bytes, manner, whole);
      await expectSameInPieces(random, manner, bytes, whole);
      await expectNoHalves(random, manner, bytes, whole);
      messages += accepted.length;
    });
    // Not a fuzzer that only ever hears 503.
    expect(messages).toBeGreaterThan(200);
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "mutated bytes get one reply for each line, in order, and no message that was not acknowledged",
  async () => {
    await rounds(1500, async (random) => {
      const manner = anyManner(random);
      const mutate = mutator(random, TOKENS);
      const seed = () => (random() < 0.5 ? draw(random, manner).bytes : pick(random, seeds));
      await attack(random, manner, mutate(seed(), seed()));
    });
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "nothing that was said before a handshake has any effect behind it",
  async () => {
    await rounds(200, async (random) => {
      const manner = anyManner(random);
      const before = bytesOf(draw(random, manner).bytes, "RSET\r\nSTARTTLS\r\n");
      const injected = mutator(random, TOKENS)(draw(random, manner).bytes);
      const after = draw(random, manner).bytes;
      const fresh = await converse(manner, { pieces: [after], isPatient: true, tls: "TLS" });
      const said = await converse(manner, {
        pieces: cut(random, bytesOf(before, injected)),
        isPatient: random() < 0.5,
        afterTls: cut(random, after),
      });
      const at = said.replies.lastIndexOf("220 2.0.0 Ready to start TLS");
      // A conversation may end before it comes to STARTTLS.
      if (at < 0) return;
      expect(said.replies.slice(at + 1)).toEqual(fresh.replies.slice(1));
      expect(said.accepted.slice(said.accepted.length - fresh.accepted.length)).toEqual([
        ...fresh.accepted,
      ]);
    });
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "the edge on a port survives clients that say anything and vanish at any time",
  async () => {
    await using it = await startEdge({ messageBytesMax: LIMITS.message, spillBytes: LIMITS.spill });
    const manner: Manner = { bareLineEnds: "normalise", nulBytes: "accept", trusted: true };
    let sent = 0;
    await rounds(150, async (random) => {
      const plan = draw(random, manner);
      const bytes = random() < 0.5 ? plan.bytes : mutator(random, TOKENS)(plan.bytes);
      const socket = connect({ port: it.port, host: "127.0.0.1", noDelay: true });
      socket.on("error", () => undefined);
      socket.on("data", () => undefined);
      const closed = new Promise((resolve) => socket.once("close", resolve));
      for (const piece of cut(random, bytes)) {
        await new Promise((resolve) => socket.write(piece, resolve));
      }
      pick(random, [
        () => void socket.end(),
        () => void socket.resetAndDestroy(),
        () => void socket.destroy(),
      ])();
      await closed;
      sent += 1;
    });
    await until("all connections are gone", () => it.edge.connections() === 0);
    const client = await it.dial();
    await client.begin();
    expect(await client.say("still here\r\n.")).toStartWith("250");
    expect(await contentOf(it.door.envelopes.at(-1))).toBe("still here\r\n");
    expect(sent).toBeGreaterThan(0);
  },
  FUZZ_TIMEOUT_MS,
);

test("a line, a reply or a message without end takes no memory", async () => {
  const manner: Manner = { bareLineEnds: "normalise", nulBytes: "accept", trusted: true };
  const block = new Uint8Array(64 * 1024).fill(0x78);
  const endless = Array.from({ length: 800 }, () => block);
  const data = bytesOf("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n");
  for (const pieces of [endless, [data, ...endless]]) {
    Bun.gc(true);
    const before = process.memoryUsage().rss;
    const { accepted } = await converse(manner, { pieces, isPatient: true });
    expect(accepted).toEqual([]);
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 * 1024);
  }
});
