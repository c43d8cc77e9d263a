import { expect, test } from "bun:test";
import { asciiAddress, asciiDomain, domainOf, isAscii } from "../../src/mail/address.ts";

test.each([
  ["bob@Example.ORG", "example.org"],
  ['"a@b"@x.example', "x.example"],
  ["bob@[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"],
  ["postmaster", ""],
  ["", ""],
  ["bob@", ""],
])("the domain of %p is %p", (address, domain) => {
  expect(domainOf(address)).toBe(domain);
});

test("ASCII ends at 0x7f", () => {
  expect(isAscii("\u0000 ~\u007f")).toBe(true);
  expect(isAscii("a\u0080")).toBe(false);
});

test("domains become A-labels", () => {
  expect(asciiDomain("Bücher.Example")).toBe("xn--bcher-kva.example");
  expect(asciiDomain("EXAMPLE.org")).toBe("example.org");
  expect(asciiDomain("\u200b\u00ad.é é")).toBeUndefined();
});

test("an address keeps its local part, and its letter case where nothing changes", () => {
  expect(asciiAddress("Böb@Bücher.example")).toBe("Böb@xn--bcher-kva.example");
  expect(asciiAddress("Bob@Example.ORG")).toBe("Bob@Example.ORG");
  expect(asciiAddress("böb")).toBe("böb");
});
