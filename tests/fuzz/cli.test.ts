import { expect, test } from "bun:test";
import fc from "fast-check";
import type { CliParts } from "../../src/cli/parts.ts";
import { COMMANDS } from "../../src/cli/run.ts";
import { SETTING_FLAGS } from "../../src/config/flags.ts";
import { exit } from "../../src/lib/sysexits.ts";
import { run, stream } from "../cli/help.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

const CODES = new Set<number>(Object.values(exit));
/** What a terminal would obey: all controls but line ends and tabs, and what turns the direction of text. */
const OBEYED =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /(?!\n|\r\n|\t)[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;
const LINE_MAX = 2000;

/** Terminal escapes, line ends, forged columns: what a sender or a peer could write. */
const HOSTILE = [
  "\u001b[2J\u001b]0;owned\u0007",
  "\u009b31m",
  "a\nerror: forged",
  "a\r\nb",
  "\rover",
  "\u202egnp.exe",
  "\u0000",
  "\u2028",
  "<>",
  "\ud800",
  "x".repeat(3000),
  "__proto__",
  "../../etc/passwd",
  "%00",
  "%n%s",
  "-",
  "--",
  "=",
];
const text = fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: "binary", maxLength: 30 }));

// Whatever a flag is called today: `save` would write into the directory of the tests.
const FLAGS = [
  ...COMMANDS.flatMap(({ options }) => options.map(({ name }) => name)),
  ...SETTING_FLAGS.map(({ name }) => name),
  "set",
  "config",
  "help",
  "nothing",
].filter((name) => name !== "save");
const VALUES = [
  "1F6YH3Q2K0ABCDEF",
  "0",
  "-1",
  "1e9",
  "99999999999999999999",
  "127.0.0.1:1",
  "deferred",
  "text",
  "json",
  "10%",
  "mx",
  "/nowhere",
  "smtp.listen=127.0.0.1:0",
  "relay.password=x",
  "=",
  "a=b=c",
  "__proto__.x=1",
  "",
];

const flag = fc
  .tuple(fc.constantFrom(...FLAGS), fc.option(fc.oneof(fc.constantFrom(...VALUES), text)))
  .map(([name, value]) => (value === null ? `--${name}` : `--${name}=${value}`));
const word = fc.oneof(
  { weight: 4, arbitrary: flag },
  { weight: 2, arbitrary: fc.constantFrom(...VALUES) },
  { weight: 1, arbitrary: fc.constantFrom("-", "--", "-h", "-V", "--help", "help") },
  { weight: 2, arbitrary: text },
);
const command = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...COMMANDS.map(({ name }) => name.split(" "))) },
  { weight: 1, arbitrary: fc.array(word, { maxLength: 2 }) },
);

const recipient = fc.record({
  index: fc.nat(3),
  address: fc.oneof(text, fc.constant(null)),
  status: text,
  reason: fc.oneof(text, fc.constant(null)),
  relay: text,
  orcpt: text,
});
const message = fc.record({
  id: fc.oneof(
    { weight: 5, arbitrary: fc.constant("1F6YH3Q2K0ABCDEF") },
    { weight: 1, arbitrary: text },
  ),
  state: fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom("deferred", "active", "hold") },
    { weight: 1, arbitrary: text },
  ),
  sender: text,
  size: fc.nat(),
  attempts: fc.nat(),
  received_at: fc.oneof(
    fc.constant("2026-11-05T04:03:02.000Z"),
    fc.constantFrom("now", "+275761-01-01T00:00:00Z"),
  ),
  due_at: fc.constantFrom(null, "2026-11-05T04:03:02.000Z"),
  client: fc.dictionary(text, text, { maxKeys: 2 }),
  recipients: fc.array(recipient, { maxLength: 3 }),
});
const answerText = fc.oneof(
  message.map((one) => JSON.stringify(one)),
  fc.array(message, { maxLength: 3 }).map((messages) => JSON.stringify({ messages, next: null })),
  fc
    .dictionary(text, fc.nat())
    .map((states) => JSON.stringify({ size: 1, states, flushed: 1, count: 1 })),
  fc.record({ title: text, detail: text }).map((one) => JSON.stringify(one)),
  fc.json(),
  text.map((value) => `Subject: ${value}\r\nX: y\r\n\r\nbody`),
  text,
);
const answer = fc.record({
  body: answerText,
  status: fc.constantFrom(200, 200, 200, 400, 401, 404, 409, 500, 503),
});

test(
  "any command line, whatever the daemon answers, ends with a code of sysexits and words fit for a terminal",
  async () => {
    await rounds(8, async (_, seed) => {
      const property = fc.asyncProperty(
        command,
        fc.array(word, { maxLength: 4 }),
        fc.option(answer),
        text,
        async (name, words, said, stdin) => await judge([...name, ...words], said, stdin),
      );
      await fc.assert(property, { numRuns: 150, seed });
    });
  },
  FUZZ_TIMEOUT_MS,
);

async function judge(
  argv: readonly string[],
  said: { readonly body: string; readonly status: number } | null,
  stdin: string,
): Promise<void> {
  const fetch: CliParts["fetch"] = async () => {
    if (said === null) throw new Error("connection refused");
    return new Response(said.body, { status: said.status });
  };
  const { code, out, err } = await run(argv, {
    fetch,
    stdin: stream(stdin),
    // The sink ends as soon as it listens.
    stopSignal: () => AbortSignal.abort(),
  });
  expect(CODES).toContain(code);
  expect(err).not.toContain("internal error");
  if (code === exit.software) expect(err).toContain("is not understood");
  expect(err).not.toMatch(OBEYED);
  expect(err).not.toMatch(/^ +at .*:\d+:\d+/mu);
  for (const line of err.split("\n")) expect(line.length).toBeLessThan(LINE_MAX);
  if (code >= exit.usage && !argv.includes("--json") && out === "") expect(err).not.toBe("");
  // What is asked for as it is comes as it is.
  if (!argv.some((one) => one.startsWith("--raw"))) expect(out).not.toMatch(OBEYED);
}
