import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { joined, nextControl, scannable, withCrlf } from "../../src/mail/line-endings.ts";

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

describe("nextControl", () => {
  test("finds what a plain search finds, at every offset and alignment", () => {
    const bytes = fc.array(
      fc.oneof(
        { weight: 5, arbitrary: fc.integer({ min: 14, max: 255 }) },
        fc.integer({ min: 0, max: 15 }),
      ),
      {
        maxLength: 70,
      },
    );
    fc.assert(
      fc.property(bytes, fc.nat({ max: 7 }), fc.nat({ max: 70 }), (values, skew, from) => {
        // The bytes of the same buffer before and behind must never be found.
        const memory = new Uint8Array(skew + values.length + 9);
        memory.set(values, skew);
        const view = memory.subarray(skew, skew + values.length);
        const found = view.findIndex((byte, index) => index >= from && byte < 14);
        expect(nextControl(scannable(view), from)).toBe(found < 0 ? view.length : found);
      }),
      { numRuns: 3000 },
    );
  });
});

describe("withCrlf", () => {
  test("gives clean text back as it is", () => {
    const clean = Buffer.from("a\r\nb\t\0\xff\r\n\r\n", "latin1");
    expect(withCrlf(clean)).toBe(clean);
  });

  test("makes every line end CRLF, once", () => {
    const text = fc
      .array(fc.constantFrom("\r", "\n", "\r\n", "a", "\t", "\0"))
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, (before) => {
        const after = withCrlf(Buffer.from(before, "latin1"));
        expect(latin1(after)).toBe(before.replace(/\r\n|\r|\n/gu, "\r\n"));
        expect(withCrlf(after)).toBe(after);
      }),
    );
  });
});

test("joined puts pieces together, and copies nothing when there is one", () => {
  const one = Uint8Array.of(1, 2);
  expect(joined([one])).toBe(one);
  expect(joined([one, Uint8Array.of(3), one])).toEqual(Uint8Array.of(1, 2, 3, 1, 2));
  expect(joined([])).toEqual(new Uint8Array(0));
});
