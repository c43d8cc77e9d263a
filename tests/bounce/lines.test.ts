import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { field, paragraph, safe, safeAddress, safeHost, unfolded } from "../../src/bounce/lines.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const anything = fc.oneof(
  fc.string({ unit: "binary", maxLength: 3000 }),
  fc
    .array(fc.constantFrom("word", " ", "  ", "\r\n", "😀".repeat(300), "x".repeat(70)), {
      maxLength: 40,
    })
    .map((words) => words.join("")),
);

describe("whatever the text", () => {
  test("a field is whole when unfolded, unless a word is too long for a line", () => {
    fc.assert(
      fc.property(anything, (text) => {
        const lines = field("Name", text).split("\r\n");
        for (const line of lines) expect(bytes(line).length).toBeLessThanOrEqual(998);
        for (const line of lines.slice(1)) expect(line).toMatch(/^ +[^ ]/u);
        const unfoldedAgain = lines.join("").replaceAll(" ", "");
        expect(unfoldedAgain).toBe(`Name:${safe(text)}`.replaceAll(" ", ""));
      }),
    );
  });

  test("a paragraph stands behind its indent and nothing is lost", () => {
    fc.assert(
      fc.property(anything, fc.constantFrom("", "    "), (text, indent) => {
        const lines = paragraph(text, indent).split("\r\n");
        for (const line of lines) {
          expect(bytes(line).length).toBeLessThanOrEqual(998);
          expect(line).toStartWith(indent);
        }
        expect(lines.join("").replaceAll(" ", "")).toBe(safe(text).replaceAll(" ", ""));
      }),
    );
  });

  test("an address or a host stays within a line", () => {
    fc.assert(
      fc.property(anything, (text) => {
        expect(bytes(unfolded("Original-Recipient", safeAddress(text))).length).toBeLessThanOrEqual(
          998,
        );
        expect(safeHost(text)).toMatch(/^[0-9A-Za-z.:_[\]?-]{1,255}$/u);
      }),
    );
  });
});

test("lines are filled up to 78 octets", () => {
  const words = "123456789 ".repeat(8).trim();
  expect(field("A", words)).toBe(`A: ${words.slice(0, 69)}\r\n 123456789`);
  expect(paragraph(words)).toBe(`${words.slice(0, 69)}\r\n123456789`);
  expect(paragraph("one two", "  ")).toBe("  one two");
});

test("addresses keep their blanks, and their length up to 900 octets", () => {
  expect(safeAddress('"a  b"@x.example')).toBe('"a  b"@x.example');
  expect(safeAddress("x".repeat(900))).toHaveLength(900);
  expect(safeAddress("x".repeat(901))).toHaveLength(300);
});
