import { networkInterfaces } from "node:os";
import type { Config } from "../config/config.ts";
import type { World } from "../lib/world.ts";
import { openBlackholeRelay } from "../relay/blackhole.ts";
import type { CourierOptions } from "../relay/courier.ts";
import { openResolver } from "../relay/dns/open-resolver.ts";
import type { Resolver } from "../relay/dns/resolver.ts";
import { openMxRelay } from "../relay/mx.ts";
import type { Relay } from "../relay/relay.ts";
import { openSmarthostRelay, type Smarthost } from "../relay/smarthost.ts";

/** RFC 5321 has no word on it; a peer that does not answer QUIT has all our mail already. */
const QUIT_MS = 5000;
const IDLE_CONNECTIONS_MAX = 200;
const DNS_TRIES = 2;
const DNS_ENTRIES_MAX = 10_000;

/** The relay that the configuration asks for; `undefined` keeps mail and never attempts it. */
export function relayOf(config: Config, world: World): Relay | undefined {
  const { relay } = config;
  switch (relay.to.kind) {
    case "none":
      return undefined;
    case "blackhole":
      return openBlackholeRelay();
    case "smarthost": {
      const hosts = relay.to.hosts.map((host) => smarthostOf(host, relay));
      const options = { ...courierOptions(config, relay.idleSmarthost), hosts, tls: relay.tls };
      // The system knows more than DNS: it is asked unless somebody names servers.
      if (relay.dnsServers.length === 0) return openSmarthostRelay(options, world);
      const resolver = resolverOf(config, world);
      return closingBoth(openSmarthostRelay(options, world, resolver), resolver);
    }
    case "mx": {
      const options = {
        ...courierOptions(config, relay.idle),
        tls: relay.tls,
        port: relay.mxPort,
        hostsMax: relay.mxHostsMax,
        ownNames: [config.smtp.hostname],
        ownAddresses: ownAddresses(config),
        forced: [],
      };
      const resolver = resolverOf(config, world);
      return closingBoth(openMxRelay(options, world, resolver), resolver);
    }
  }
}

/** A question that is never answered would keep the process for as long as it is asked. */
export function closingBoth(relay: Relay, resolver: Resolver): Relay {
  return {
    ...relay,
    async close() {
      resolver.close();
      await relay.close();
    },
  };
}

/** Where mail on the port of MX hosts comes back to us; nowhere, when we do not listen on that port. */
function ownAddresses({ smtp, relay }: Config): readonly string[] {
  const hosts = smtp.listen.filter(({ port }) => port === relay.mxPort).map(({ host }) => host);
  const every = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  return hosts.flatMap((host) => (isWildcard(host) ? every.map(({ address }) => address) : [host]));
}

function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

/** The resolver that the configuration asks for. */
export function resolverOf({ relay }: Config, world: World): Resolver {
  return openResolver(
    {
      servers: relay.dnsServers.map(
        ({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`,
      ),
      resolvConf: "/etc/resolv.conf",
      hostsFile: "/etc/hosts",
      timeoutMs: relay.timeout.dns,
      tries: DNS_TRIES,
      cacheEntriesMax: DNS_ENTRIES_MAX,
    },
    world,
  );
}

function smarthostOf(
  {
    host,
    port,
    implicitTls,
    username,
    password,
  }: {
    readonly host: string;
    readonly port: number;
    readonly implicitTls: boolean;
    readonly username: string | null;
    readonly password: string | null;
  },
  { username: commonName, password: commonPassword }: Config["relay"],
): Smarthost {
  const user = username ?? commonName;
  const secret = username === null ? commonPassword : password;
  if (user === null || user === "") return { host, port, implicitTls };
  return { host, port, implicitTls, credentials: { user, password: secret ?? "" } };
}

/** What all relays that speak SMTP are told. */
export function courierOptions({ relay }: Config, idleMs: number): CourierOptions {
  const { timeout } = relay;
  return {
    ownName: relay.ehlo,
    timeouts: {
      connectMs: timeout.connect,
      greetingMs: timeout.greeting,
      commandMs: timeout.command,
      dataMs: timeout.data,
      dataBlockMs: timeout.block,
      dataEndMs: timeout.end,
      quitMs: QUIT_MS,
    },
    tlsVersionMin: "TLSv1.2",
    // Somebody who asks for no encryption and gives a password means it.
    allowClearTextAuth: relay.tls === "none",
    addressesMax: relay.addressesMax,
    prefer: relay.prefer,
    messagesPerConnectionMax: relay.messagesPerConnection,
    idleMs,
    idleConnectionsMax: IDLE_CONNECTIONS_MAX,
  };
}
