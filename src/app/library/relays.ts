import { readRelayEntry } from "../../config/relay-url.ts";
import type { CourierOptions } from "../../relay/courier.ts";
import type { Resolver } from "../../relay/dns/resolver.ts";
import { type MxOptions, openMxRelay as openMx } from "../../relay/mx.ts";
import type { Relay } from "../../relay/relay.ts";
import { openSmarthostRelay as openSmarthosts, type Smarthost } from "../../relay/smarthost.ts";
import type { SmtpTimeouts, TlsMode } from "../../relay/smtp-session.ts";
import { closingBoth, courierOptions, resolverOf } from "../relays.ts";
import { type Embedding, stockConfig, surroundings } from "./stock.ts";

/** Of both relays that speak SMTP; what is not given is as in the executable (`config explain`, `relay.*`). */
export interface SmtpRelayOptions
  extends Partial<Omit<CourierOptions, "timeouts">>,
    Pick<Embedding, "world"> {
  /** TLS to next hops; by default `opportunistic`: where it is offered, with whatever certificate. */
  readonly tls?: TlsMode;
  /** How long each step of a session may take, in milliseconds; RFC 5321 §4.5.3.2 for those that are not given. */
  readonly timeouts?: Partial<SmtpTimeouts>;
  /** Who looks names up; one is opened, and closed with the relay, without it. */
  readonly resolver?: Resolver;
}

/**
 * Hands all mail to the first of these hosts that takes it, the parent's `StaticSmtpRelay`: `smtp://[user:password@]host[:port]`
 * or `smtps://...`, as `--relay` takes them, or the same in parts. Names are looked up as the system does. Throws `TypeError`
 * for a URL that cannot be read, without showing it: it may hold a password.
 */
export function openSmarthostRelay(
  hosts: string | readonly (string | Smarthost)[],
  { resolver, ...given }: SmtpRelayOptions = {},
): Relay {
  const all = typeof hosts === "string" ? [hosts] : hosts;
  const { relay } = stockConfig();
  const options = { ...smtpOptions(given, relay.idleSmarthost), hosts: all.map(smarthostOf) };
  return openSmarthosts(options, surroundings(given).world, resolver);
}

/** Of the relay that delivers by MX. */
export interface MxRelayOptions
  extends SmtpRelayOptions,
    Partial<Pick<MxOptions, "port" | "hostsMax" | "ownNames" | "ownAddresses" | "forced">> {}

/** Hands mail to the hosts that DNS names for the domain of each recipient, the parent's `MxSmtpRelay`. */
export function openMxRelay({ resolver, ...given }: MxRelayOptions = {}): Relay {
  const config = stockConfig();
  const { world } = surroundings(given);
  const { port = config.relay.mxPort, hostsMax = config.relay.mxHostsMax, ...rest } = given;
  const { ownNames = [config.smtp.hostname], ownAddresses = [], forced = [] } = rest;
  const options: MxOptions = {
    ...smtpOptions(rest, config.relay.idle),
    ...{ port, hostsMax, ownNames, ownAddresses, forced },
  };
  if (resolver !== undefined) return openMx(options, world, resolver);
  const own = resolverOf(config, world);
  return closingBoth(openMx(options, world, own), own);
}

function smtpOptions({ timeouts, tls, ...given }: SmtpRelayOptions, idleMs: number) {
  const config = stockConfig(tls === undefined ? {} : { relay: { tls } });
  const stock = courierOptions(config, idleMs);
  return {
    ...stock,
    ...given,
    tls: config.relay.tls,
    timeouts: { ...stock.timeouts, ...timeouts },
  };
}

function smarthostOf(host: string | Smarthost): Smarthost {
  if (typeof host !== "string") return host;
  const entry = readRelayEntry(host);
  if (entry?.kind !== "smarthost") {
    throw new TypeError("a host is smtp://[user:password@]host[:port] or smtps://...");
  }
  const { username, password, kind: _, ...place } = entry;
  if (username === null) return place;
  return { ...place, credentials: { user: username, password: password ?? "" } };
}
