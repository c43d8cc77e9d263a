import { BlockList, isIP, isIPv4 } from "node:net";

/** Answers whether an address (as `clientIp` writes it) lies in one of the networks. */
export type NetworkTest = (ip: string) => boolean;

/** This machine: who may relay unless told otherwise. */
export const LOOPBACK_NETWORKS: readonly string[] = ["127.0.0.0/8", "::1/128"];

/** Reads networks such as `192.0.2.0/24`, `2001:db8::/32` or single addresses. Throws `RangeError` on anything else. */
export function networkTest(networks: readonly string[]): NetworkTest {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix, ...more] = network.split("/");
    const bits = isIPv4(address) ? 32 : 128;
    const length = prefix === undefined ? bits : prefixLength(prefix, bits);
    if (isIP(address) === 0 || length === undefined || more.length > 0) {
      throw new RangeError(`not a network: ${network}`);
    }
    list.addSubnet(address, length, bits === 32 ? "ipv4" : "ipv6");
  }
  // The kernel's spelling needs no further test, which would cost more than the look-up.
  return (ip) => ip !== "" && list.check(ip, ip.includes(":") ? "ipv6" : "ipv4");
}

/** An address as the socket gives it, without zone, and with IPv4 in its own form also on a listener for both. */
export function clientIp(remoteAddress: string): string {
  const [address = ""] = remoteAddress.split("%", 1);
  const isMapped = address.startsWith("::ffff:") && address.includes(".");
  return isMapped ? address.slice("::ffff:".length) : address;
}

function prefixLength(text: string, bits: number): number | undefined {
  return /^\d{1,3}$/u.test(text) && Number(text) <= bits ? Number(text) : undefined;
}
