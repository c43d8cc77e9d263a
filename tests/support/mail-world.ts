import type { Answer } from "dns-packet";
import { freePort } from "./free-port.ts";
import { type MailHost, type Manners, mailHost } from "./mail-host.ts";
import { type NameServer, nameServer, type Said } from "./name-server.ts";

/** The top of all names here; RFC 6761 keeps it for tests. */
const TOP = "test";
const TTL_S = 60;

/**
 * A small Internet on loopback: a name server, and hosts that each have an address of their own on one port. Mail for
 * `NAME.test`, and for any domain below it, goes to the host NAME.
 */
export interface MailWorld extends AsyncDisposable {
  /** The flags with which `serve` finds its way in this world. */
  readonly args: readonly string[];
  /** The port of all hosts. */
  readonly port: number;
  /** One of the hosts that were asked for. */
  host(name: string): MailHost;
  /** Questions that the name server got. */
  asked(): number;
}

export interface MailWorldOptions {
  readonly hosts: Readonly<Record<string, Manners>>;
  /** Hosts of somebody else's at 127.0.0.1, on the port of this world. */
  readonly others?: readonly string[];
  /** Names of which the name server never says anything. */
  readonly silent?: readonly string[];
  /** Names that lead to an address where nobody listens. */
  readonly down?: readonly string[];
}

/** Starts all of it. */
export async function mailWorld(options: MailWorldOptions): Promise<MailWorld> {
  const port = await freePort();
  const names = Object.keys(options.hosts);
  const addresses = new Map(names.map((name, index) => [name, `127.0.1.${index + 1}`]));
  for (const name of options.others ?? []) addresses.set(name, "127.0.0.1");
  for (const [index, name] of (options.down ?? []).entries())
    addresses.set(name, `127.0.2.${index + 1}`);
  const silent = new Set(options.silent);
  const servers = await nameServer((name, type) => said(name, type, addresses, silent));
  const hosts = new Map<string, MailHost>();
  for (const [name, manners] of Object.entries(options.hosts)) {
    hosts.set(name, await mailHost(addresses.get(name) ?? "", port, manners));
  }
  return worldOf(servers, hosts, port);
}

function worldOf(names: NameServer, hosts: ReadonlyMap<string, MailHost>, port: number): MailWorld {
  return {
    args: [
      ...["--relay", "mx", "--set", `relay.dns_servers=127.0.0.1:${names.port}`],
      ...["--set", `relay.mx_port=${port}`],
    ],
    port,
    host(name) {
      const host = hosts.get(name);
      if (host === undefined) throw new Error(`there is no host ${name} here`);
      return host;
    },
    asked: names.asked,
    async [Symbol.asyncDispose]() {
      for (const host of hosts.values()) await host[Symbol.asyncDispose]();
      await names[Symbol.asyncDispose]();
    },
  };
}

function said(
  name: string,
  type: string,
  addresses: ReadonlyMap<string, string>,
  silent: ReadonlySet<string>,
): Said {
  const [host = "", top] = name.split(".").slice(-2);
  if (silent.has(host)) return "silence";
  const ip = addresses.get(host);
  if (top !== TOP || ip === undefined) return "no-name";
  if (type === "MX") return [mx(name, `mx.${host}.${TOP}`)];
  return type === "A" ? [{ type: "A", name, ttl: TTL_S, data: ip }] : [];
}

function mx(name: string, exchange: string): Answer {
  return { type: "MX", name, ttl: TTL_S, data: { preference: 10, exchange } };
}
