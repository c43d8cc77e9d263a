import { isIP } from "node:net";

/** A server to ask. */
export interface DnsServer {
  readonly ip: string;
  readonly port: number;
}

const DNS_PORT = 53;

/** As many as the C library takes. */
export const SERVERS_MAX = 3;

/** Hosts read from a hosts file; what follows is left out. */
export const HOSTS_MAX = 10_000;

/** Reads `address`, `address:port`, `[address]` or `[address]:port`; `undefined` for anything else. */
export function parseServer(text: string): DnsServer | undefined {
  const [, inside, outside, digits] =
    /^(?:\[([^\]]+)\]|([^:]+|.*:.*:.*?))(?::(\d+))?$/u.exec(text) ?? [];
  if (isIP(text) !== 0) return { ip: text, port: DNS_PORT };
  const ip = inside ?? outside ?? "";
  const port = digits === undefined ? DNS_PORT : Number(digits);
  return isIP(ip) === 0 || port < 1 || port > 65_535 ? undefined : { ip, port };
}

/** The servers of a resolv.conf(5), this host when there are none. A zone such as `fe80::1%eth0` is kept. */
export function parseResolvConf(text: string): readonly DnsServer[] {
  const servers: DnsServer[] = [];
  for (const line of text.split("\n")) {
    const [, ip = ""] = /^\s*nameserver\s+([^\s#;]+)/u.exec(line) ?? [];
    if (isIP(ip) !== 0 && servers.length < SERVERS_MAX) servers.push({ ip, port: DNS_PORT });
  }
  return servers.length > 0 ? servers : [{ ip: "127.0.0.1", port: DNS_PORT }];
}

/** Names in lower case and their addresses out of a hosts(5) file; `localhost` is always there. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const hosts = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [ip = "", ...names] = line.replace(/#.*$/u, "").trim().split(/\s+/u);
    if (isIP(ip) === 0 || hosts.size >= HOSTS_MAX) continue;
    for (const name of names) {
      const key = name.toLowerCase();
      hosts.set(key, [...(hosts.get(key) ?? []), ip]);
    }
  }
  if (!hosts.has("localhost")) hosts.set("localhost", ["127.0.0.1", "::1"]);
  return hosts;
}
