import { isIP } from "node:net";
import type { World } from "../lib/world.ts";
import { asciiDomain, domainOf } from "../mail/address.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import { classify } from "./classify.ts";
import { type Courier, type CourierOptions, courier, type NextHop } from "./courier.ts";
import type { MxRecord, Resolver } from "./dns/resolver.ts";
import type { PeerFailure } from "./peer-failure.ts";
import type { Outcome, Relay } from "./relay.ts";
import type { TlsMode } from "./smtp-session.ts";

/** Mail for one domain goes to a certain host, whatever DNS says: the parent's `force_mx`. */
export interface ForcedRoute {
  /** The domain of recipients, in lower case. */
  readonly domain: string;
  /** A name or an address. */
  readonly host: string;
  /** Where it listens. */
  readonly port: number;
}

/** Everything that delivery by MX can be told. */
export interface MxOptions extends CourierOptions {
  /** Where MX hosts listen; 25 everywhere but in tests. */
  readonly port: number;
  /** How much encryption is asked for. */
  readonly tls: TlsMode;
  /** Hosts that one attempt tries for a domain. */
  readonly hostsMax: number;
  /** What this host is called, and its addresses: mail is never handed to ourselves. */
  readonly ownNames: readonly string[];
  /** Addresses of this host on the port of MX hosts. */
  readonly ownAddresses: readonly string[];
  /** Domains that are not looked up. */
  readonly forced: readonly ForcedRoute[];
}

/** Domains of one message that are served at once; the others wait for these. */
export const DOMAINS_AT_ONCE_MAX = 10;

/** MX hosts that are looked at, to find usable ones and ourselves among them. */
const EXCHANGES_MAX = 20;

type Route = readonly NextHop[] | PeerFailure;

/** An MX host with what is known of its addresses. */
interface Exchange {
  readonly record: MxRecord;
  readonly found: readonly string[] | PeerFailure;
}

/**
 * Hands mail to the hosts that DNS names for the domain of each recipient (RFC 5321 §5.1): by preference, equal ones in
 * random order, the domain itself without MX records. Recipients of several domains are served side by side.
 */
export function openMxRelay(options: MxOptions, world: World, resolver: Resolver): Relay {
  const carrier = courier(options, world);
  const directory = new Directory(options, world, resolver);
  return {
    async deliver({ envelope }, signal) {
      const groups = [...groupByDomain(envelope.recipients)];
      const outcomes: Outcome[] = [];
      const serve = async (): Promise<void> => {
        for (let group = groups.pop(); group; group = groups.pop()) {
          outcomes.push(...(await deliverTo(group, envelope, signal, directory, carrier, world)));
        }
      };
      await Promise.all(Array.from({ length: DOMAINS_AT_ONCE_MAX }, serve));
      return outcomes;
    },
    destinationOf,
    stats: carrier.stats,
    parked: carrier.parked,
    close: carrier.close,
  };
}

function destinationOf(domain: string): string {
  return asciiDomain(domain) ?? domain.toLowerCase();
}

async function deliverTo(
  [domain, recipients]: readonly [string, readonly Recipient[]],
  envelope: Envelope,
  signal: AbortSignal,
  directory: Directory,
  carrier: Courier,
  { clock }: World,
): Promise<readonly Outcome[]> {
  const startedAt = clock.now();
  const route =
    domain === ""
      ? ({ kind: "no-domain", name: recipients[0]?.address ?? "" } as const)
      : await unlessAborted(directory.route(domain), signal);
  if (!("kind" in route)) {
    const lookupMs = clock.now() - startedAt;
    const outcomes = await carrier.carry(
      { envelope, recipients, destination: destinationOf(domain), signal },
      route,
    );
    return outcomes.map((outcome) => ({ ...outcome, setupMs: outcome.setupMs + lookupMs }));
  }
  const { kind, reply } = classify(route);
  const times = { setupMs: clock.now() - startedAt, transferMs: 0 };
  return recipients.map(({ index }) => ({ recipient: index, kind, reply, ...times }));
}

/** A lookup takes as long as it takes; whoever does not want to wait for it gets away. */
function unlessAborted(route: Promise<Route>, signal: AbortSignal): Promise<Route> {
  const aborted = { kind: "aborted", phase: "connect" } as const;
  if (signal.aborted) return Promise.resolve(aborted);
  return new Promise((resolve, reject) => {
    const abort = () => resolve(aborted);
    signal.addEventListener("abort", abort);
    route.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Recipients by the domain of their address in A-labels, where it has any. */
function groupByDomain(recipients: readonly Recipient[]): Map<string, Recipient[]> {
  const groups = new Map<string, Recipient[]>();
  for (const recipient of recipients) {
    const given = domainOf(recipient.address);
    const domain = asciiDomain(given) ?? given;
    const group = groups.get(domain);
    if (group) group.push(recipient);
    else groups.set(domain, [recipient]);
  }
  return groups;
}

/** Knows which hosts take the mail of a domain. */
class Directory {
  readonly #options: MxOptions;
  readonly #random: () => number;
  readonly #resolver: Resolver;
  readonly #forced: ReadonlyMap<string, ForcedRoute>;
  readonly #ownNames: ReadonlySet<string>;
  readonly #ownAddresses: ReadonlySet<string>;

  constructor(options: MxOptions, { random }: World, resolver: Resolver) {
    this.#options = options;
    this.#random = random;
    this.#resolver = resolver;
    this.#forced = new Map(
      options.forced.map((forced) => [asciiDomain(forced.domain) ?? forced.domain, forced]),
    );
    this.#ownNames = new Set(options.ownNames.map((name) => name.toLowerCase()));
    this.#ownAddresses = new Set(options.ownAddresses.map(plainAddress));
  }

  async route(domain: string): Promise<Route> {
    const forced = this.#forced.get(domain);
    if (forced) return [this.#forcedHop(forced)];
    if (domain.startsWith("[")) return this.#literalRoute(domain);
    const answer = await this.#resolver.mx(domain);
    switch (answer.kind) {
      case "found":
        return this.#routeOver(answer.records, domain);
      case "no-data":
        return this.#routeOver([{ preference: 0, exchange: domain }], domain);
      case "no-name":
        return { kind: "no-name", name: domain };
      default:
        return { kind: "dns-failed", name: domain, detail: answer.detail };
    }
  }

  async #routeOver(records: readonly MxRecord[], domain: string): Promise<Route> {
    // RFC 7505 §3: a null MX stands alone.
    if (records.length === 1 && records[0]?.exchange === "")
      return { kind: "null-mx", name: domain };
    const named = this.#sorted(records.filter(({ exchange }) => exchange !== ""));
    const exchanges = await Promise.all(
      named.slice(0, EXCHANGES_MAX).map(
        async (record): Promise<Exchange> => ({
          record,
          found: await this.#find(record.exchange),
        }),
      ),
    );
    const others = this.#withoutOurselves(exchanges);
    if (others.length === 0 && exchanges.length > 0) return { kind: "loop", name: domain };
    const usable = others.filter(({ found }) => !("kind" in found) || found.kind !== "no-host");
    if (usable.length === 0) return { kind: "no-host", name: domain };
    return usable
      .slice(0, this.#options.hostsMax)
      .map(({ record, found }) => this.#hop(record.exchange, this.#options.port, found));
  }

  /** RFC 5321 §5.1: by preference; among equals the load is spread. */
  #sorted(records: readonly MxRecord[]): readonly MxRecord[] {
    return records
      .map((record) => ({ record, dice: this.#random() }))
      .sort(
        (one, other) => one.record.preference - other.record.preference || one.dice - other.dice,
      )
      .map(({ record }) => record);
  }

  /** RFC 5321 §5.1: who is listed is no relay for itself, nor for those that are no better. */
  #withoutOurselves(exchanges: readonly Exchange[]): readonly Exchange[] {
    const own = exchanges.find(
      ({ record, found }) =>
        this.#ownNames.has(record.exchange.toLowerCase()) ||
        (!("kind" in found) && this.#hasOwn(found)),
    );
    if (!own) return exchanges;
    return exchanges.filter(({ record }) => record.preference < own.record.preference);
  }

  #hasOwn(addresses: readonly string[]): boolean {
    return addresses.some((address) => this.#ownAddresses.has(plainAddress(address)));
  }

  async #find(host: string): Promise<readonly string[] | PeerFailure> {
    const answer = await this.#resolver.addresses(host);
    if (answer.kind === "found") return answer.addresses;
    return answer.kind === "failed"
      ? { kind: "dns-failed", name: host, detail: answer.detail }
      : { kind: "no-host", name: host };
  }

  /** RFC 5321 §4.1.3: `[192.0.2.1]` and `[IPv6:2001:db8::1]`. */
  #literalRoute(domain: string): Route {
    const [, address = ""] = /^\[(?:ipv6:)?([0-9a-f:.]+)\]$/iu.exec(domain) ?? [];
    if (isIP(address) === 0) return { kind: "no-host", name: domain };
    if (this.#hasOwn([address])) return { kind: "loop", name: domain };
    return [this.#hop(address, this.#options.port, [address])];
  }

  /** An operator's word: what is wrong with it is no fault of the mail. */
  #forcedHop({ host, port }: ForcedRoute): NextHop {
    const { tls } = this.#options;
    const addresses = async (): Promise<readonly string[] | PeerFailure> => {
      const found = await this.#find(host);
      return "kind" in found && found.kind === "no-host"
        ? { kind: "no-smarthost", name: host }
        : found;
    };
    return { host, port, tls, implicitTls: false, addresses };
  }

  #hop(host: string, port: number, found: readonly string[] | PeerFailure): NextHop {
    const { tls } = this.#options;
    return { host, port, tls, implicitTls: false, addresses: () => Promise.resolve(found) };
  }
}

/** One spelling for each address. */
function plainAddress(address: string): string {
  if (isIP(address) !== 6) return address;
  return new URL(`http://[${address.replace(/%.*$/u, "")}]`).hostname;
}
