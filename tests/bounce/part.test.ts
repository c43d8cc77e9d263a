import { expect, test } from "bun:test";
import fc from "fast-check";
import { isSevenBit, joinParts } from "../../src/bounce/part.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const part = (content: Uint8Array) => ({ type: "text/plain", description: "Test", bytes: content });

test("parts stand between boundaries, each with its encoding", () => {
  const {
    boundary,
    bytes: joined,
    isEightBit,
  } = joinParts([part(bytes("a\r\n")), part(bytes("ä"))], "S");
  const header = (encoding: string) =>
    `Content-Type: text/plain\r\nContent-Description: Test\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`;
  expect(boundary).toBe("=_S_0");
  expect(isEightBit).toBe(true);
  expect(new TextDecoder().decode(joined)).toBe(
    "This is a message in several parts, as MIME defines them.\r\n" +
      `\r\n--=_S_0\r\n${header("7bit")}a\r\n\r\n--=_S_0\r\n${header("8bit")}ä\r\n--=_S_0--\r\n`,
  );
});

test("the boundary is in no part, whatever they hold", () => {
  const content = fc
    .array(fc.constantFrom("=_S_0", "=_S_", "1", "2", "=", "--", "\r\n"))
    .map((all) => all.join(""));
  fc.assert(
    fc.property(fc.array(content, { minLength: 1 }), (contents) => {
      const { boundary } = joinParts(
        contents.map((text) => part(bytes(text))),
        "S",
      );
      for (const text of contents) expect(text).not.toContain(boundary);
    }),
  );
});

test("bits are counted", () => {
  expect(isSevenBit(Uint8Array.of(0, 0x7f))).toBe(true);
  expect(isSevenBit(Uint8Array.of(0, 0x80))).toBe(false);
});
