import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  REPLY_BYTES_MAX,
  ReplyReader,
  replyCode,
  replyText,
} from "../../src/relay/smtp-replies.ts";

const line = fc.string({ maxLength: 20 }).map((text) => text.replace(/[\r\n]/gu, ""));
const reply = fc
  .tuple(fc.integer({ min: 200, max: 599 }), fc.array(line, { minLength: 1, maxLength: 4 }))
  .map(([code, lines]) =>
    lines.map((text, index) => `${code}${index === lines.length - 1 ? " " : "-"}${text}`),
  );

function readAll(reader: ReplyReader): string[] {
  const found: string[] = [];
  for (let next = reader.next(); next !== undefined; next = reader.next()) {
    if (typeof next !== "string") throw new Error(next.garbled);
    found.push(next);
  }
  return found;
}

test("replies are the same however they were split", () => {
  fc.assert(
    fc.property(
      fc.array(reply, { maxLength: 6 }),
      fc.array(fc.nat(12)),
      fc.boolean(),
      (replies, cuts, bare) => {
        const text = replies
          .flat()
          .map((one) => `${one}${bare ? "\n" : "\r\n"}`)
          .join("");
        const reader = new ReplyReader();
        const found: string[] = [];
        let at = 0;
        for (const length of [...cuts, text.length]) {
          reader.push(text.slice(at, at + length));
          at += length;
          found.push(...readAll(reader));
        }
        expect(found).toEqual(replies.map((lines) => lines.join("\n")));
      },
    ),
  );
});

test.each(["hello", "", "12 x", "100 x", "600 x", "2500 x", " 250 ok", "25\u00002 x"])(
  "%j is no reply",
  (text) => {
    const reader = new ReplyReader();
    reader.push(`${text}\r\n`);
    expect(reader.next()).toMatchObject({ garbled: expect.any(String) });
  },
);

test("a reply may be as long as the limit and no longer, line or lines", () => {
  const longest = `250 ${"x".repeat(REPLY_BYTES_MAX - 4)}`;
  const reader = new ReplyReader();
  reader.push(`${longest}\n`);
  expect(reader.next()).toBe(longest);
  reader.push(`${longest}x\n`);
  expect(reader.next()).toMatchObject({ garbled: "the reply is too long" });

  const unended = new ReplyReader();
  unended.push("2".repeat(REPLY_BYTES_MAX));
  expect(unended.next()).toBeUndefined();
  unended.push("2");
  expect(unended.next()).toMatchObject({ garbled: "the reply is too long" });

  const lines = new ReplyReader();
  let outcome: unknown;
  for (let count = 0; count < REPLY_BYTES_MAX && outcome === undefined; count += 1) {
    lines.push("250-more\r\n");
    outcome = lines.next();
  }
  expect(outcome).toMatchObject({ garbled: "the reply is too long" });
});

test("the last line's code counts, and text is UTF-8 where it can be", () => {
  expect(replyCode("250-a\n550 b")).toBe(550);
  expect(replyText("gr\u00c3\u00bc\u00c3\u009fe")).toBe("grüße");
  expect(replyText("gr\u00fc\u00dfe")).toBe("grüße");
  expect(replyText("plain")).toBe("plain");
});
