import { describe, expect, test } from "bun:test";
import { clientIp, LOOPBACK_NETWORKS, networkTest } from "../../src/edge/networks.ts";

describe("networkTest", () => {
  const isOurs = networkTest(["192.0.2.0/25", "198.51.100.7", "2001:db8::/33", "::1"]);
  const cases: readonly (readonly [ip: string, expected: boolean])[] = [
    ["192.0.2.0", true],
    ["192.0.2.127", true],
    ["192.0.2.128", false],
    ["198.51.100.7", true],
    ["198.51.100.8", false],
    ["2001:db8:7fff::1", true],
    ["2001:db8:8000::1", false],
    ["::1", true],
    ["::2", false],
    ["", false],
  ];
  for (const [ip, expected] of cases) {
    test(`${ip || "no address"}: ${expected}`, () => expect(isOurs(ip)).toBe(expected));
  }

  test("nobody is trusted by an empty list, everybody by 0.0.0.0/0 and ::/0", () => {
    expect(networkTest([])("127.0.0.1")).toBe(false);
    expect(networkTest(["0.0.0.0/0"])("203.0.113.9")).toBe(true);
    expect(networkTest(["0.0.0.0/0"])("2001:db8::1")).toBe(false);
    expect(networkTest(["::/0"])("2001:db8::1")).toBe(true);
  });

  for (const wrong of [
    "",
    "example.org",
    "192.0.2.0/33",
    "192.0.2.0/",
    "192.0.2/24",
    "::1/129",
    "192.0.2.0/24/1",
    "192.0.2.0/-1",
  ]) {
    test(`${JSON.stringify(wrong)} is not a network`, () => {
      expect(() => networkTest([wrong])).toThrow(RangeError);
    });
  }
});

test("clientIp gives IPv4 its own form and drops zones", () => {
  expect(clientIp("::ffff:192.0.2.1")).toBe("192.0.2.1");
  expect(clientIp("fe80::1%eth0")).toBe("fe80::1");
  expect(clientIp("2001:db8::1")).toBe("2001:db8::1");
  expect(networkTest(LOOPBACK_NETWORKS)(clientIp("::ffff:127.0.0.1"))).toBe(true);
});
