import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeOrcpt, decodeXtext, encodeOrcpt, encodeXtext } from "../../src/mail/xtext.ts";

const words = fc.string({ unit: "binary" }).filter((text) => text.isWellFormed());

describe("xtext", () => {
  test("is as in RFC 3461 section 4", () => {
    expect(encodeXtext("a+b=c d")).toBe("a+2Bb+3Dc+20d");
    expect(decodeXtext("a+2Bb+3Dc+20d")).toBe("a+b=c d");
    expect(encodeXtext("é")).toBe("+C3+A9");
  });

  test.each(["a b", "a=b", "a+2", "a+2b", "+", "é", "+FF", "\r\n", "a\u007f"])(
    "%p is refused",
    (text) => {
      expect(decodeXtext(text)).toBeUndefined();
    },
  );

  test("reads back what it wrote, in printable ASCII", () => {
    fc.assert(
      fc.property(words, (word) => {
        expect(encodeXtext(word)).toMatch(/^[!-~]*$/u);
        expect(decodeXtext(encodeXtext(word))).toBe(word);
      }),
    );
  });
});

describe("ORCPT", () => {
  test("has a type and a decoded address", () => {
    expect(decodeOrcpt("rfc822;bob+2Btag@x.example")).toBe("rfc822;bob+tag@x.example");
    expect(decodeOrcpt("utf-8;b\\x{F6}b@x.example")).toBe("utf-8;böb@x.example");
    expect(decodeOrcpt("utf-8;böb@x.example")).toBe("utf-8;böb@x.example");
  });

  test.each([
    "bob@x.example",
    ";bob",
    "rfc822;",
    "rfc 822;bob",
    "rfc822;b b",
    "rfc822;bö",
    "utf-8;+",
  ])("%p is refused", (value) => {
    expect(decodeOrcpt(value)).toBeUndefined();
  });

  test("reads back what it wrote, in printable ASCII", () => {
    const types = fc.constantFrom("rfc822", "utf-8", "UTF-8", "x400");
    const addresses = words.filter((word) => word !== "");
    fc.assert(
      fc.property(types, addresses, (type, address) => {
        const encoded = encodeOrcpt(`${type};${address}`);
        expect(encoded).toMatch(/^[!-~]*$/u);
        expect(decodeOrcpt(encoded)).toBe(`${type};${address}`);
      }),
    );
    expect(encodeOrcpt("bob@x.example")).toBe("rfc822;bob@x.example");
  });
});
