import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { World } from "../lib/world.ts";
import { type CourierOptions, courier, type NextHop } from "./courier.ts";
import type { Resolver } from "./dns/resolver.ts";
import type { PeerFailure } from "./peer-failure.ts";
import type { Relay } from "./relay.ts";
import type { Credentials, TlsMode } from "./smtp-session.ts";

/** One host that takes mail for everywhere. */
export interface Smarthost {
  /** A name, an IPv4 address or an IPv6 address without brackets. */
  readonly host: string;
  /** Usually 25, 465 with implicit TLS or 587. */
  readonly port: number;
  /** TLS from the first byte, as `smtps://` says (RFC 8314). */
  readonly implicitTls: boolean;
  /** AUTH with these (RFC 4954); without them no login is tried. */
  readonly credentials?: Credentials;
}

export interface SmarthostOptions extends CourierOptions {
  /** In the order in which they are tried. */
  readonly hosts: readonly Smarthost[];
  readonly tls: TlsMode;
}

/**
 * Hands all mail to the first of the hosts that takes it. The next one is asked when a host cannot be reached, greeted,
 * encrypted or authenticated with, or defers before it heard of recipients. Names are looked up by `resolver`, or by
 * the system, `/etc/hosts` included.
 */
export function openSmarthostRelay(
  options: SmarthostOptions,
  world: World,
  resolver?: Pick<Resolver, "addresses">,
): Relay {
  const carrier = courier(options, world);
  const destination = options.hosts.map(smarthostUrl).join(",");
  const hops = options.hosts.map(
    (smarthost): NextHop => ({
      ...smarthost,
      tls: options.tls,
      addresses: () => addressesOf(smarthost.host, resolver),
    }),
  );
  return {
    deliver: ({ envelope }, signal) => {
      const { recipients } = envelope;
      return carrier.carry({ envelope, recipients, destination, signal }, hops);
    },
    destinationOf: () => destination,
    stats: carrier.stats,
    parked: carrier.parked,
    close: carrier.close,
  };
}

/** Without the credentials, so that it may be shown. */
function smarthostUrl({ host, port, implicitTls }: Smarthost): string {
  const shown = isIP(host) === 6 ? `[${host}]` : host;
  return `${implicitTls ? "smtps" : "smtp"}://${shown}:${port}`;
}

async function addressesOf(
  host: string,
  resolver: Pick<Resolver, "addresses"> | undefined,
): Promise<readonly string[] | PeerFailure> {
  if (isIP(host) !== 0) return [host];
  if (!resolver) return systemAddresses(host);
  const answer = await resolver.addresses(host);
  if (answer.kind === "found") return answer.addresses;
  return answer.kind === "failed"
    ? { kind: "dns-failed", name: host, detail: answer.detail }
    : { kind: "no-smarthost", name: host };
}

async function systemAddresses(host: string): Promise<readonly string[] | PeerFailure> {
  try {
    const found = await lookup(host, { all: true });
    return found.map(({ address }) => address);
  } catch (error) {
    const code = (error as { code?: string }).code ?? "";
    return code === "ENOTFOUND" || code === "ENODATA"
      ? { kind: "no-smarthost", name: host }
      : { kind: "dns-failed", name: host, detail: code };
  }
}
