import { describe, expect, test } from "bun:test";
import { ear, type Line } from "./support/line.ts";
import { AS_WRITTEN, isExpected, play } from "./support/play.ts";
import { parseScript, type Step, unescaped } from "./support/script.ts";

const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString("latin1");

describe("a script", () => {
  test("is read with all it may hold", () => {
    const script = parseScript(
      [
        "# A comment.",
        "% set smtp.recipients_max=2",
        "% queue answers: 451 4.3.0 Later",
        "S: 220 *",
        "C: EHLO \\r is plain text here",
        "S: 250-mx.example.org",
        "S: ...",
        "S: 250 DSN",
        "P: 500 no DSN there",
        "C~: half\\x00\\r",
        "-- split",
        "C~: \\n\\{3*ab\\n}",
        "-- tls",
        "-- end",
        "S: <closed>",
        "",
        "Q: MAIL FROM:<> RCPT TO:<b@example.net>",
        "D: Subject: x",
        "D:",
        "D~: .\\xff",
      ].join("\n"),
    );
    expect(script.settings).toEqual(["smtp.recipients_max=2"]);
    expect(script.door).toEqual({ answers: "451 4.3.0 Later" });
    expect(script.steps.map(({ kind, at }) => `${at} ${kind}`)).toEqual(
      "4 expect,5 send,6 expect,10 send,11 split,12 send,13 tls,14 end,15 closed".split(","),
    );
    const [, hello, offer, half, , rest] = script.steps;
    expect(text((hello as { bytes: Uint8Array }).bytes)).toBe("EHLO \\r is plain text here\r\n");
    expect(offer).toMatchObject({
      lines: ["250-mx.example.org", "...", "250 DSN"],
      postfix: "500",
    });
    expect(text((half as { bytes: Uint8Array }).bytes)).toBe("half\0\r");
    expect(text((rest as { bytes: Uint8Array }).bytes)).toBe("\nab\nab\nab\n");
    expect(text(script.queued[0]?.content)).toBe("Subject: x\r\n\r\n.\xff");
  });

  test.each([
    ["S: 220\nX: what", "line 2: not understood: X: what"],
    ["S: 220\nC~: \\q", "line 2: unknown escape \\q"],
    ["S: 250-more\nC: NOOP", "line 2: the reply has no end"],
    ["S: 250-more", "line 1: the reply has no end"],
    ["D: text", "line 1: D: belongs behind Q:"],
    ["C: NOOP\nP: 250 x", "line 2: P: belongs behind S:"],
    ["S: 250\nP: 250", "line 2: P: needs a code and a reason"],
    ["# nothing", "line 1: nobody says anything"],
  ])("%j is refused", (script, message) => {
    expect(() => parseScript(script)).toThrow(message);
  });

  test("has UTF-8 in its escaped lines", () => {
    expect(text(unescaped("\u00e9\\\\"))).toBe("\xc3\xa9\\");
  });
});

const expects = (...lines: string[]) =>
  ({ kind: "expect", at: 1, lines }) satisfies Extract<Step, { kind: "expect" }>;

test.each([
  [["250"], ["250-a", "250 b"], true],
  [["25?"], ["250 b"], true],
  [["5*"], ["250 b"], false],
  [["250 2.1.0 *"], ["250 2.1.0 Ok"], true],
  [["250 2.1.0 *"], ["250 2x1.0 Ok"], false],
  [["250 Ok"], ["250-Ok", "250 Ok"], false],
  [["250-mx", "...", "250 DSN"], ["250-mx", "250 DSN"], true],
  [
    ["250-mx", "...", "250-SIZE *", "...", "250 DSN"],
    ["250-mx", "250-A", "250-SIZE 1", "250 DSN"],
    true,
  ],
  [["250-mx", "...", "250-SIZE *", "...", "250 DSN"], ["250-mx", "250-A", "250 DSN"], false],
] as const)("%j against %j: %p", (patterns, reply, result) => {
  expect(isExpected(expects(...patterns), reply)).toBe(result);
});

test("what a server says is cut into replies, and nothing else is taken for one", async () => {
  const heard = ear();
  heard.push("220 a\r\n250-b\r\n250");
  expect(await heard.hear()).toEqual(["220 a"]);
  heard.push(" c\r\n");
  expect(await heard.hear()).toEqual(["250-b", "250 c"]);
  heard.push("250-b\r\n550 c\r\n");
  await expect(heard.hear()).rejects.toThrow("two codes");
  for (const wrong of ["250 a\n", "hello\r\n", "250 a\0b\r\n", "250 \xe9\r\n", "\r\n"]) {
    const other = ear();
    other.push(wrong);
    await expect(other.hear()).rejects.toThrow("no SMTP reply");
  }
});

/** A server that says its lines whatever it hears. */
function fakeLine(said: string): Line & { readonly sent: string[] } {
  const heard = ear();
  const sent: string[] = [];
  heard.push(said);
  return {
    sent,
    send: (bytes) => Promise.resolve(void sent.push(text(bytes))),
    hear: heard.hear,
    startTls: () => Promise.resolve(),
    end: heard.close,
    drop: () => undefined,
  };
}

describe("a play", () => {
  const script = parseScript(
    "S: 220\nC: NOOP\nC: NOOP\nS: 250\nS: 250\nC: QUIT\nS: 221\nS: <closed>",
  );

  test("sends what stands together in one packet, or in pieces", async () => {
    const replies = "220 a\r\n250 b\r\n250 c\r\n221 d\r\n";
    const whole = fakeLine(replies);
    whole.hear = closingAfter(whole, 4);
    await play(script, whole);
    expect(whole.sent).toEqual(["NOOP\r\nNOOP\r\n", "QUIT\r\n"]);
    const pieces = fakeLine(replies);
    pieces.hear = closingAfter(pieces, 4);
    await play(script, pieces, { ...AS_WRITTEN, packetBytesMax: 5 });
    expect(pieces.sent).toEqual(["NOOP\r", "\nNOOP", "\r\n", "QUIT\r", "\n"]);
  });

  test("that goes wrong shows where, what was expected and what was said", async () => {
    const line = fakeLine("220 a\r\n250 b\r\n550 c\r\n");
    await expect(play(script, line)).rejects.toThrow(
      "line 5: - expected, + said by the server\n" +
        "  S: 220 a\n  C: NOOP\n  C: NOOP\n  S: 250 b\n- S: 250\n+ S: 550 c",
    );
  });

  test("ends with silence", async () => {
    const short = parseScript("S: 220");
    await expect(play(short, fakeLine("220 a\r\n250 more\r\n"))).rejects.toThrow(
      "- S: <closed>\n+ S: 250 more",
    );
  });

  test("against Postfix compares classes, and knows its differences", async () => {
    const asPostfix = { ...AS_WRITTEN, asPostfix: true };
    const differs = parseScript("S: 220\nC: X\nS: 500 5.5.2 *\nC: Y\nS: 501\nP: 250 it is lax");
    await play(differs, fakeLine("220 a\r\n502 b\r\n250 c\r\n"), asPostfix);
    await expect(play(differs, fakeLine("220 a\r\n502 b\r\n501 c\r\n"), asPostfix)).rejects.toThrow(
      "- S: 250\n+ S: 501 c",
    );
  });
});

function closingAfter(line: Line, replies: number): Line["hear"] {
  const { hear } = line;
  let left = replies;
  return () => {
    left -= 1;
    if (left < 0) line.end();
    return hear();
  };
}
