import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Config } from "../../src/config/config.ts";
import { explain } from "../../src/config/explain.ts";
import { placesOf } from "../../src/config/facts.ts";
import { FILE_LENGTH_MAX, variableOf } from "../../src/config/layers.ts";
import { type LoadInput, loadConfig } from "../../src/config/load.ts";
import { formatIssue } from "../../src/config/origin.ts";
import { configSchema } from "../../src/config/schema.ts";
import { settingsOf } from "../../src/config/setting.ts";
import { FILE, input, root } from "../config/help.ts";
import { fuzzBytes } from "./support/bytes-fuzzer.ts";
import { bytesOf, mutator, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

/** Stands where secrets stand, and may be seen nowhere. */
const CANARY = "CaNaRy";
const SETTINGS = settingsOf(configSchema(placesOf(root, {})));
const PATHS = SETTINGS.map(({ path }) => path);
const SECRETS = SETTINGS.filter(({ secret }) => secret !== undefined).map(({ path }) => path);
/** Of these only the login in a URL is secret. */
const LOGINS = SETTINGS.filter(({ secret }) => secret === "login" || secret === "url").map(
  ({ path }) => path,
);
/** A problem is one line that a terminal shows on a screen. */
const LINE_MAX = 4000;
/** Reading a configuration takes milliseconds; this much on a busy machine means that something is quadratic. */
const READ_MS_MAX = 10_000;

/** What holds for any input: a configuration whose values make sense, or problems that can be acted on. No secret. */
function judge(given: LoadInput, mayShowCanary = false): void {
  const started = performance.now();
  const result = loadConfig(given);
  expect(performance.now() - started).toBeLessThan(READ_MS_MAX);
  expect(Object.keys(Object.prototype)).toEqual([]);
  const shown = result.kind === "loaded" ? explain(result) : result.issues;
  if (!mayShowCanary) expect(JSON.stringify(shown)).not.toContain(CANARY);
  if (result.kind === "loaded") makesSense(result.config);
  else {
    expect(result.issues.length).toBeGreaterThan(0);
    for (const issue of result.issues) {
      const line = formatIssue(issue);
      expect(line).toMatch(/^[^\p{Cc}]+ \([^\p{Cc}]+\)$/u);
      expect(line.length).toBeLessThan(LINE_MAX);
      expect(issue.message.length).toBeGreaterThan(5);
    }
  }
}

function makesSense(value: Config | unknown): void {
  if (typeof value === "number") expect(value).toBeWithin(0, 2 ** 53);
  if (typeof value === "object" && value !== null)
    for (const one of Object.values(value)) makesSense(one);
}

/** Whether the canary stands where it is no secret: a mutation has moved it, or has made a word of what was a login. */
function isMoved(toml: string): boolean {
  try {
    return placesOfCanary(Bun.TOML.parse(toml), "").some((path) => !SECRETS.includes(path));
  } catch {
    return false;
  }
}

function placesOfCanary(node: unknown, path: string): string[] {
  if (LOGINS.includes(path) && /@|:\/\/[^"]*:(?!\d)/u.test(JSON.stringify(node))) return [];
  if (SECRETS.includes(path) && !LOGINS.includes(path)) return [];
  if (typeof node !== "object" || node === null)
    return String(node).includes(CANARY) ? [`${path} `] : [];
  return Object.entries(node).flatMap(([key, inner]) => {
    return key.includes(CANARY)
      ? [`${key} `]
      : placesOfCanary(inner, path === "" ? key : `${path}.${key}`);
  });
}

const WHOLE_FILE = `# everything
[smtp]
listen = ["0.0.0.0:25", "[::1]:2525"]
trust = ["127.0.0.0/8", "10.0.0.0/8"]
hostname = "mail.example.org"
size_max = "25MiB"
recipients_max = 1000
bare_newlines = "refuse"
timeout = "5m"
[smtp.tls]
cert_file = ""
[spool]
dir = "/var/spool/x"
free_min_percent = 10.5
[relay]
to = ["smtp://user:${CANARY}@mail.example.org:25", 'smtps://b.example']
username = "edge"
password = "${CANARY}"
[relay.timeout]
connect = "30s"
[queue]
retry = ["1m", "5m"]
delay_notice = "off"
[admin]
listen = ["127.0.0.1:8425"]
token = "${CANARY}"
[log]
format = "json"
`;

const TOKENS = [
  "\n",
  "=",
  '"',
  '"""',
  "'",
  "'''",
  "[",
  "]",
  "[[",
  "{",
  "}",
  "#",
  ".",
  ",",
  "\\",
  "\\u0000",
  "\\u001b",
  "__proto__",
  "constructor",
  "nan",
  "-inf",
  "1e999",
  "0x7fffffffffffffff",
  "-1",
  "1979-05-27",
  "true",
  "relay.to = ",
  "relay.password = ",
  "\u{feff}",
  "\u0000",
  "\xff",
  "smtp://",
  "@",
  ":",
  "0.0.0.0/0",
  "99999999999999999999d",
];

describe("the configuration file", () => {
  test(
    "mutated text is a configuration or a list of problems, and tells no secret",
    async () => {
      await fuzzBytes({
        target: "config",
        quick: 1500,
        seeds: [bytesOf(WHOLE_FILE)],
        make: (random, seeds) => mutator(random, TOKENS)(pick(random, seeds), pick(random, seeds)),
        judge(bytes) {
          const toml = new TextDecoder().decode(bytes);
          judge(input({ toml }), isMoved(toml));
        },
      });
    },
    FUZZ_TIMEOUT_MS,
  );

  const SIZE = FILE_LENGTH_MAX - 100;
  const huge: Record<string, string> = {
    "arrays in arrays": `relay.to = ${"[".repeat(SIZE)}`,
    "arrays in arrays, all of them closed": `relay.to = ${"[".repeat(9000)}${"]".repeat(9000)}`,
    "tables in tables": `relay.to = ${"{a=".repeat(SIZE / 4)}1${"}".repeat(SIZE / 4)}`,
    "a key of many parts": `relay${".a".repeat(SIZE / 2)} = 1`,
    "one long word": `smtp.hostname = "${"a".repeat(SIZE)}"`,
    "one long key": `${"a".repeat(SIZE)} = 1`,
    "one long key of a table": `[relay]\n${"a".repeat(SIZE)} = 1`,
    "many unknown keys": Array.from({ length: SIZE / 16 }, (_, index) => `key${index} = 1\n`).join(
      "",
    ),
    "many entries": `smtp.trust = [${'"10.0.0.0/8",'.repeat(SIZE / 16)}]`,
    "many wrong entries": `smtp.trust = [${'"x",'.repeat(SIZE / 16)}]`,
    "many lines and an error behind them": `${"# nothing\n".repeat(SIZE / 16)}oops`,
    "long lines and an error behind them": `${`# ${"x".repeat(4096)}\n`.repeat(256)}oops`,
    "many spaces": `relay.to = "${" ".repeat(SIZE)}"`,
    "many at signs": `relay.to = "smtp://${":@".repeat(SIZE / 16)}"`,
    "many digits": `smtp.timeout = "${"1".repeat(SIZE)}"`,
    "many units": `smtp.timeout = "${"1s".repeat(SIZE / 2)}"`,
    "many labels": `smtp.hostname = "${"a.".repeat(SIZE / 2)}"`,
  };
  for (const [name, toml] of Object.entries(huge)) {
    test(`a file full of ${name} is a problem, soon`, () => {
      judge(input({ toml }));
    }, 30_000);
  }

  test("a megabyte of anything is one problem", () => {
    expect(loadConfig(input({ toml: "# nothing\n".repeat(100_000) }))).toMatchObject({
      issues: [{ message: expect.stringContaining("too long") }],
    });
  });

  test("what stands unquoted where a secret belongs is not shown", () => {
    for (const toml of [
      `relay.password = ${CANARY}`,
      `admin.token = ${CANARY} # it`,
      `relay.password = 1${CANARY}`,
    ]) {
      judge(input({ toml }));
    }
  });
});

describe("settings from every place at once", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.constantFrom(
      "",
      " ",
      "none",
      "off",
      "0",
      "-1",
      "1e9",
      "NaN",
      "Infinity",
      "-5m",
      "1m-1m",
      "99999999d",
      "0.0.0.0/0",
      "::/0",
      "127.0.0.1:0",
      "127.0.0.1:99999",
      "[::1]:25",
      "[::]",
      "/",
      "/tmp/x",
      "unix:/x",
      "auto:/x",
      "auto:",
      "mx",
      "mx,none",
      "smtp://a",
      "smtp://@",
      "smtp://:@h",
      "\u001b[31m",
      "a\nb",
      "\u202e",
      "__proto__",
      "toString",
      "10%",
      "101%",
      "25MiB",
      "1PiB",
    ),
  );
  const value: fc.Arbitrary<unknown> = fc.oneof(
    text,
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constantFrom(Number.MAX_SAFE_INTEGER, -0, 1e300),
    fc.array(text, { maxLength: 4 }),
    fc.array(fc.array(text, { maxLength: 2 }), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom("__proto__", "a", "constructor"), text, { maxKeys: 2 }),
  );
  const path = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...PATHS) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "relay",
        "relay.nothing",
        "__proto__.x",
        "smtp.constructor",
        "",
        ".",
        "smtp.tls",
      ),
    },
  );
  const place = fc.constantFrom("toml", "env", "env file", "flag", "credential");
  const secretPlace = fc.record({ path: fc.constantFrom(...SECRETS), place, wrap: fc.nat(6) });
  const scene = fc.record({
    settings: fc.array(fc.record({ path, place, value }), { maxLength: 5 }),
    secrets: fc.array(secretPlace, { minLength: 1, maxLength: 3 }),
    relayhost: fc.option(text),
  });

  test(
    "are a configuration or a list of problems, and tell no secret",
    async () => {
      await rounds(12, (_, seed) => {
        fc.assert(
          fc.property(scene, (given) => judge(inputOf(given))),
          { numRuns: 100, seed },
        );
      });
    },
    FUZZ_TIMEOUT_MS,
  );

  const WRAPS = [
    CANARY,
    `smtp://user:${CANARY}@host:25`,
    `smtp://user:${CANARY}`,
    `smtp://user:a ${CANARY}@host`,
    `${CANARY}\u0007`,
    `user:${CANARY}@host`,
    `smtp://u:${CANARY}@h,mx`,
  ];

  interface Given {
    readonly settings: readonly { path: string; place: string; value: unknown }[];
    readonly secrets: readonly { path: string; place: string; wrap: number }[];
    readonly relayhost: string | null;
  }

  function inputOf({ settings, secrets, relayhost }: Given): LoadInput {
    const hidden = secrets.map(({ path: where, place: by, wrap }) => {
      // A bare word in place of a URL is no login.
      const wrapped = WRAPS[LOGINS.includes(where) ? Math.max(1, wrap) : wrap] ?? CANARY;
      return {
        path: where,
        place: by,
        value: wrapped === `${CANARY}\u0007` && LOGINS.includes(where) ? "mx" : wrapped,
      };
    });
    const all = [...settings, ...hidden];
    const by = (name: string) => all.filter(({ place: of }) => of === name);
    const toml = by("toml")
      .map((one) => `${keyOf(one.path)} = ${tomlOf(one.value)}\n`)
      .join("");
    const files: Record<string, string> = { [FILE]: toml };
    const env: Record<string, string> = { CREDENTIALS_DIRECTORY: "/run/credentials" };
    if (relayhost !== null) env.RELAYHOST = relayhost;
    for (const one of by("env")) env[variableOf(one.path)] = textOf(one.value);
    for (const one of by("credential")) files[`/run/credentials/${one.path}`] = textOf(one.value);
    for (const [index, one] of by("env file").entries()) {
      env[`${variableOf(one.path)}_FILE`] = `/file/${index}`;
      files[`/file/${index}`] = textOf(one.value);
    }
    const flags = by("flag").map((one) => ({
      name: "--set",
      path: one.path,
      value: textOf(one.value),
    }));
    return { flags, env, facts: root, readFile: (name) => files[name] };
  }

  function textOf(value: unknown): string {
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  function keyOf(dotted: string): string {
    return dotted
      .split(".")
      .map((key) => JSON.stringify(key))
      .join(".");
  }

  function tomlOf(one: unknown): string {
    if (Array.isArray(one)) return `[${one.map(tomlOf).join(", ")}]`;
    if (typeof one === "object" && one !== null) {
      return `{${Object.entries(one)
        .map(([key, inner]) => `${JSON.stringify(key)} = ${tomlOf(inner)}`)
        .join(", ")}}`;
    }
    return typeof one === "string" ? JSON.stringify(one) : textOf(one);
  }
});
