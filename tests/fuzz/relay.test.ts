import { describe, expect, test } from "bun:test";
import type { Outcome } from "../../src/relay/relay.ts";
import { ReplyReader, replyCode } from "../../src/relay/smtp-replies.ts";
import type { TlsMode } from "../../src/relay/smtp-session.ts";
import { content, delivery, envelope, NEVER, PATIENT, relayTo } from "../relay/fixtures.ts";
import { seededRandom } from "../support/seeded.ts";
import {
  anyExtensions,
  anyReaction,
  inPieces,
  properReply,
  REPLY_TOKENS,
} from "./relay-hostility.ts";
import { expectJust, expectNoReuse, type Marked, readReplies } from "./relay-model.ts";
import { type Heard, hostilePeer, type Reaction, type Talk } from "./relay-peer.ts";
import { corpus } from "./support/corpus.ts";
import { below, bytesOf, mutator, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

/** Peers that stall are given up soon, all others have answered by then. */
const HASTY = {
  connectMs: 1000,
  greetingMs: 60,
  commandMs: 60,
  dataMs: 60,
  dataBlockMs: 60,
  dataEndMs: 60,
  quitMs: 30,
};

/** Two connections with all their phases come to a second; the rest is for a busy machine. */
const DELIVERY_MS_MAX = 10_000;

/** Peers that are attacked at the same time: most of the time is spent on waiting for those that stall. */
const LANES = 4;

interface Mail extends Marked {
  readonly of: ReturnType<typeof envelope>;
}

let count = 0;

/** A message that no other is like. */
function newMail(recipients: number): Mail {
  count += 1;
  const to = Array.from({ length: recipients }, (_, at) => `r${at}-${count}@example.com`);
  const text = `Subject: ${count}\r\n\r\n.dot\r\n..\r\nMAIL FROM:<>\r\nlast\r\n`;
  const sender = `s-${count}@example.org`;
  const of = envelope(to, { sender, content: content(text) });
  const addresses = new Map(of.recipients.map(({ index, address }) => [index, address]));
  return { of, sender, addresses, stuffed: `${text.replace(/\n\./gu, "\n..")}.\r\n` };
}

describe("the reader of replies", () => {
  function readAll(pieces: readonly string[]) {
    const reader = new ReplyReader();
    const codes: number[] = [];
    for (const piece of pieces) {
      reader.push(piece);
      for (let next = reader.next(); next !== undefined; next = reader.next()) {
        if (typeof next !== "string") return { codes, isClean: false };
        codes.push(replyCode(next));
      }
    }
    return { codes, isClean: true };
  }

  test(
    "finds the same replies as the model in any bytes, however they are split",
    async () => {
      const heard: Heard = { kind: "command", text: "EHLO", saidBefore: 0 };
      await rounds(4000, (random) => {
        const mutate = mutator(random, REPLY_TOKENS);
        const replies = Array.from({ length: below(random, 6) }, () =>
          anyReaction(random, mutate, heard, anyExtensions(random)).pieces.join(""),
        );
        const text = Buffer.from(mutate(bytesOf(...replies))).toString("latin1");
        const expected = readReplies(text);
        const whole = readAll([text]);
        expect(whole.codes).toEqual([...expected.codes]);
        if (expected.isClean) expect(whole.isClean).toBe(true);
        expect(readAll(inPieces(random, text)).codes).toEqual([...expected.codes]);
        expect(readAll([...text]).codes).toEqual([...expected.codes]);
      });
    },
    FUZZ_TIMEOUT_MS,
  );
});

/** Delivers two messages over one relay to a peer that reacts like that, and judges what came of it. */
async function attack(
  recipients: number,
  tls: TlsMode,
  react: (heard: Heard) => Reaction,
): Promise<readonly Outcome[]> {
  await using peer = await hostilePeer(react);
  const relay = relayTo(peer.port, { tls, timeouts: HASTY });
  const all: Outcome[] = [];
  try {
    for (const mail of [newMail(recipients), newMail(recipients)]) {
      const startedAt = performance.now();
      const outcomes = await relay.deliver(delivery(mail.of), NEVER);
      all.push(...outcomes);
      expect(performance.now() - startedAt).toBeLessThan(DELIVERY_MS_MAX);
      await peer.settled();
      expectJust(outcomes, mail, peer.talks);
    }
    await relay.close();
    await peer.settled();
    for (const talk of peer.talks) expectNoReuse(talk);
    expect(relay.stats().idle).toBe(0);
  } catch (cause) {
    throw new Error(`${(cause as Error).message}\n${shown(all, peer.talks)}`, { cause });
  }
  return all;
}

/** What happened, for people: times differ from run to run, so that the seed alone may not show it again. */
function shown(outcomes: readonly Outcome[], talks: readonly Talk[]): string {
  const replies = outcomes.map(({ kind, reply }) => ({ kind, reply }));
  const text = JSON.stringify({ replies, talks }).replace(/(.{1,90}?)\1{20,}/gu, "$1…");
  return text.slice(0, 8000);
}

describe("samples that once found something", () => {
  for (const { name, bytes } of corpus("relay")) {
    // What is said to one command after the other, the greeting first, with dashes between; then the peer hangs up.
    test(name, async () => {
      const replies = Buffer.from(bytes).toString("latin1").split("----\n");
      let at = 0;
      await attack(1, "none", () => {
        const text = replies[at];
        at += 1;
        return { pieces: [text ?? ""], next: text === undefined ? "hang-up" : "go-on" };
      });
    });
  }
});

test(
  "whatever a peer says, every recipient gets one outcome that the peer's words justify",
  async () => {
    const kinds = { delivered: 0, deferred: 0, rejected: 0 };
    const attackAtRandom = async (random: () => number) => {
      const mutate = mutator(random, REPLY_TOKENS);
      const extensions = anyExtensions(random);
      const tls = pick(random, ["none", "none", "opportunistic"] as const);
      const outcomes = await attack(1 + below(random, 4), tls, (heard) =>
        anyReaction(random, mutate, heard, extensions),
      );
      for (const { kind } of outcomes) kinds[kind] += 1;
    };
    await rounds(100, async (_, seed) => {
      const lanes = Array.from({ length: LANES }, (_none, lane) =>
        seededRandom(seed * LANES + lane),
      );
      await Promise.all(lanes.map(attackAtRandom));
    });
    // Not a fuzzer that never gets behind the greeting.
    for (const kind of ["delivered", "deferred", "rejected"] as const) {
      expect(kinds[kind], kind).toBeGreaterThan(10);
    }
  },
  FUZZ_TIMEOUT_MS,
);

const CODES = [250, 250, 250, 250, 250, 251, 211, 354, 334, 421, 450, 452, 550, 554];

/** What each command is answered with, in order of their need. */
interface Codes {
  readonly greeting: number;
  readonly ehlo: number;
  readonly helo: number;
  readonly mail: number;
  readonly rcpts: readonly number[];
  readonly data: number;
  readonly message: number;
}

function anyCodes(random: () => number, recipients: number): Codes {
  const code = () => pick(random, CODES);
  const mostly = (usual: number) => (random() < 0.85 ? usual : code());
  return {
    greeting: mostly(220),
    ehlo: mostly(250),
    helo: mostly(250),
    mail: mostly(250),
    rcpts: Array.from({ length: recipients }, code),
    data: mostly(354),
    message: code(),
  };
}

const class_ = (code: number) => Math.floor(code / 100);
const refusal = (code: number) => (class_(code) === 5 ? "rejected" : "deferred");

/** RFC 5321 §4.2.1, §4.3.2, and what a permanent refusal to talk means for mail: nothing yet. */
function expectedKinds(codes: Codes): readonly Outcome["kind"][] {
  const { greeting, ehlo, helo, mail, rcpts, data, message } = codes;
  const all = (kind: Outcome["kind"]) => rcpts.map(() => kind);
  if (greeting !== 220) return all("deferred");
  const hasHello = class_(ehlo) === 2 || (class_(ehlo) === 5 && class_(helo) === 2);
  if (!hasHello) return all("deferred");
  if (class_(mail) !== 2) return all(refusal(mail));
  const kinds: (Outcome["kind"] | undefined)[] = [];
  for (const code of rcpts) {
    // Out of step, or about to go: nobody who waits for an answer gets one.
    if (code === 421 || class_(code) === 3) {
      return rcpts.map((_, index) => kinds[index] ?? "deferred");
    }
    kinds.push(class_(code) === 2 ? undefined : refusal(code));
  }
  const isTaken = class_(data) === 3 && class_(message) === 2;
  const last = class_(data) === 3 ? message : data;
  const rest = isTaken ? "delivered" : refusal(last);
  return kinds.map((kind) => kind ?? rest);
}

test(
  "replies that are well formed come to exactly what they say",
  async () => {
    await rounds(300, async (random) => {
      const mail = newMail(1 + below(random, 4));
      const codes = anyCodes(random, mail.addresses.size);
      const extensions = pick(random, [[], ["PIPELINING"], ["PIPELINING", "8BITMIME", "SIZE 0"]]);
      let rcpts = 0;
      const codeFor = ({ kind, text }: Heard): number => {
        if (kind === "connection") return codes.greeting;
        if (kind === "message") return codes.message;
        if (text.startsWith("EHLO")) return codes.ehlo;
        if (text.startsWith("HELO")) return codes.helo;
        if (text.startsWith("MAIL")) return codes.mail;
        if (text.startsWith("RCPT")) return codes.rcpts[rcpts++] ?? 250;
        return text === "DATA" ? codes.data : 250;
      };
      await using peer = await hostilePeer((heard) => {
        const code = codeFor(heard);
        const text = properReply(heard, extensions).replace(/^\d{3}/gmu, `${code}`);
        return { pieces: inPieces(random, text), next: code === 421 ? "hang-up" : "go-on" };
      });
      const relay = relayTo(peer.port, { timeouts: PATIENT });
      const outcomes = await relay.deliver(delivery(mail.of), NEVER);
      await peer.settled();
      expectJust(outcomes, mail, peer.talks);
      expect({ codes, kinds: outcomes.map(({ kind }) => kind) }).toEqual({
        codes,
        kinds: [...expectedKinds(codes)],
      });
      await relay.close();
    });
  },
  FUZZ_TIMEOUT_MS,
);
