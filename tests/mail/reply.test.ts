import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatReply, parseReply, printable, REPLY_TEXT_MAX } from "../../src/mail/reply.ts";

describe("parseReply", () => {
  test.each([
    [550, "550 5.1.1 No such user", "550 5.1.1 No such user"],
    [
      550,
      "550-5.7.1 Blocked\r\n550 5.7.1 see https://x.example",
      "550 5.7.1 Blocked see https://x.example",
    ],
    [250, "2.0.0 Ok: queued as 12345", "250 2.0.0 Ok: queued as 12345"],
    [451, "Try later", "451 4.0.0 Try later"],
    [550, "4.2.1 The class lies", "550 5.0.0 The class lies"],
    [421, "421", "421 4.0.0"],
    [554, "5.1.1000 not a code", "554 5.0.0 5.1.1000 not a code"],
  ])("reads %i %p", (code, text, line) => {
    expect(formatReply(parseReply(code, text))).toBe(line);
  });

  test("its class agrees with its code, its text is one bounded printable line", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 200, max: 599 }),
        fc.string({ unit: "binary" }),
        (code, text) => {
          const parsed = parseReply(code, text.repeat(20));
          expect(parsed.enhanced).toMatch(/^[2-5]\.\d{1,3}\.\d{1,3}$/u);
          expect(Number(parsed.enhanced[0])).toBe(Math.floor(code / 100));
          expect(parsed.text.length).toBeLessThanOrEqual(REPLY_TEXT_MAX);
          expect(parsed.text).not.toMatch(/\p{Cc}/u);
        },
      ),
    );
  });
});

test("the text of a reply of many lines is bounded", () => {
  const { text } = parseReply(250, `250-2.0.0 ${"x".repeat(100)}\r\n`.repeat(600));
  expect(text).toHaveLength(REPLY_TEXT_MAX);
});

test("printable text is cut with a mark", () => {
  expect(printable("a\r\n\tb\u0000c", 10)).toBe("a b c");
  expect(printable("1234567890", 10)).toBe("1234567890");
  expect(printable("12345678901", 10)).toBe("1234567...");
});
