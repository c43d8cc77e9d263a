/** Postfix as the second opinion on random conversations: the class of each reply, in order. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Line, socketLine } from "../dialogues/support/line.ts";
import { startEdge, type TestEdge } from "../edge/edge-fixture.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postfix, postfixInstance } from "../support/postfix.ts";
import { draw } from "./edge-grammar.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

const MAIN = {
  smtpd_helo_required: "yes",
  smtpd_error_sleep_time: "0",
  smtpd_hard_error_limit: "10000",
  smtpd_junk_command_limit: "10000",
  smtpd_forbid_bare_newline: "normalize",
  smtpd_forbid_bare_newline_exclusions: "",
  message_size_limit: "1048576",
  line_length_limit: "4096",
  // Whatever it takes stays where it is.
  defer_transports: "smtp local",
};

/** Where the two knowingly differ: such commands are left out of a conversation. Tests of dialogues have them too. */
const DIFFERENCES: readonly { readonly line: RegExp; readonly why: string }[] = [
  { line: /^HELP/u, why: "it has no HELP" },
  { line: /^VRFY/u, why: "it looks whether it would take mail for the address" },
  { line: /^BDAT/u, why: "it knows BDAT, and reads the octets behind it" },
  { line: /^QUIT now/u, why: "it takes an argument of QUIT" },
  { line: /^GET/u, why: "it says 221 to a browser, we say 421" },
  { line: /^MAILFROM:/u, why: "it ends a session for a line that looks like a header field" },
  { line: /^ /u, why: "it skips white space in front of a command" },
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about
  { line: /[\0\x1b]|\r(?!\n)/u, why: "it replaces controls and takes CR for white space" },
  { line: /^NOOP .{1000}/u, why: "its limit on the length of a line is another one" },
  {
    line: /:(?:<>>|<a@b@c>|<a b@|<@ex|<a\(b\)|<a@example\.com>x)/u,
    why: "strict_rfc821_envelopes is off",
  },
  { line: /SIZE=99999999/u, why: "a size that it refused counts for the next MAIL too" },
  { line: /^(?:MAIL FROM|RCPT TO):a[\r\n]/u, why: "it completes addresses without a domain" },
];

const MANNER = { bareLineEnds: "normalise", nulBytes: "accept", trusted: true } as const;

describeWithPeers(["postfix"], "Postfix and the edge", () => {
  let postfix: Postfix;
  let edge: TestEdge;

  beforeAll(async () => {
    postfix = await postfixInstance({ main: MAIN });
    edge = await startEdge({ errorsMax: 10_000 });
  }, 60_000);
  afterAll(async () => {
    await postfix[Symbol.asyncDispose]();
    await edge[Symbol.asyncDispose]();
  });

  test(
    "answer random conversations alike",
    async () => {
      let messages = 0;
      await rounds(60, async (random) => {
        const utterances = draw(random, MANNER).utterances.filter((text) => !isDifferent(text));
        const bytes = new Uint8Array(Buffer.from(`${utterances.join("")}QUIT\r\n`, "latin1"));
        const [ours, theirs] = await Promise.all([
          classes(socketLine(edge.port), bytes),
          classes(socketLine(postfix.port), bytes),
        ]);
        const said = utterances.map((text) => text.slice(0, 80));
        expect({ said, classes: ours }).toEqual({ said, classes: theirs });
        messages += edge.door.envelopes.length;
      });
      expect(messages).toBeGreaterThan(0);
    },
    FUZZ_TIMEOUT_MS,
  );
});

function isDifferent(utterance: string): boolean {
  const [command = ""] = utterance.split(/(?<=\n)/u, 1);
  return DIFFERENCES.some(({ line }) => line.test(command));
}

/** Says everything at once; the first digits of all replies, without the greeting's. */
async function classes(line: Line, bytes: Uint8Array): Promise<string> {
  try {
    await line.hear();
    await line.send(bytes);
    let heard = "";
    for (let reply = await line.hear(); reply !== "closed"; reply = await line.hear()) {
      heard += reply[0]?.[0] ?? "";
    }
    return heard;
  } finally {
    line.drop();
  }
}
