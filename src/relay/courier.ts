import { isIPv6 } from "node:net";
import type { Clock, World } from "../lib/world.ts";
import type { Envelope, Recipient } from "../mail/envelope.ts";
import { type ConnectionPool, connectionPool, type PoolOptions } from "./connection-pool.ts";
import { Errand } from "./errand.ts";
import { type HostMemory, hostMemory } from "./host-memory.ts";
import type { Answer, PeerFailure } from "./peer-failure.ts";
import type { Outcome, ParkedConnections } from "./relay.ts";
import { connectSmtp } from "./smtp-client.ts";
import { commandsFor } from "./smtp-commands.ts";
import type {
  Connected,
  Credentials,
  SmtpClient,
  SmtpClientOptions,
  TlsMode,
} from "./smtp-session.ts";

/** One host that may take the mail. */
export interface NextHop {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMode;
  readonly implicitTls: boolean;
  readonly credentials?: Credentials;
  /** Its addresses in the order in which they are tried, or why there are none. */
  addresses(): Promise<readonly string[] | PeerFailure>;
}

/** How next hops are spoken to, and connections to them kept. */
export interface CourierOptions extends SmtpClientOptions, PoolOptions {
  /** Addresses that one attempt tries in all. */
  readonly addressesMax: number;
  /** Which addresses of a host are tried first; otherwise they keep their order. */
  readonly prefer: "any" | "ipv4" | "ipv6";
}

/** Carries messages to the first of several next hops that takes them. Shared by all relays that speak SMTP. */
export interface Courier {
  /** One outcome for every recipient; hosts are tried in order, until each recipient got an answer that counts. */
  carry(load: Load, hops: readonly NextHop[]): Promise<readonly Outcome[]>;
  stats(): { readonly open: number; readonly idle: number };
  /** As `Relay.parked`. */
  readonly parked: ParkedConnections;
  close(): Promise<void>;
}

/** What is carried. */
export interface Load {
  readonly envelope: Envelope;
  readonly recipients: readonly Recipient[];
  /** As `Relay.destinationOf`: what a connection is kept for afterwards. */
  readonly destination: string;
  readonly signal: AbortSignal;
}

/** What every server takes in one transaction (RFC 5321 §4.5.3.1.8); more recipients go in further ones. */
export const RECIPIENTS_PER_TRANSACTION_MAX = 100;

/** Makes a courier with a pool of its own. */
export function courier(options: CourierOptions, world: World): Courier {
  const round = new Round(options, world);
  return {
    async carry(load, hops) {
      const { recipients } = load;
      const outcomes: Outcome[] = [];
      for (let start = 0; start < recipients.length; start += RECIPIENTS_PER_TRANSACTION_MAX) {
        const chunk = recipients.slice(start, start + RECIPIENTS_PER_TRANSACTION_MAX);
        const errand = new Errand(load, chunk, world.clock, options.addressesMax);
        await round.run(hops, errand);
        outcomes.push(...errand.outcomes.values());
        const last = outcomes.at(-1);
        if (errand.hasReached || !last) continue;
        // Nobody was there: no use in waiting for the same again.
        const rest = recipients.slice(start + RECIPIENTS_PER_TRANSACTION_MAX);
        return [...outcomes, ...rest.map(({ index }) => ({ ...last, recipient: index }))];
      }
      return outcomes;
    },
    stats: () => round.pool.stats(),
    parked: round.pool.parked,
    close: () => round.pool.close(),
  };
}

/** Takes errands from host to host. */
class Round {
  readonly pool: ConnectionPool;
  readonly #options: CourierOptions;
  readonly #clock: Clock;
  readonly #unreachable: HostMemory;
  readonly #badTls: HostMemory;

  constructor(options: CourierOptions, { clock }: World) {
    this.#options = options;
    this.#clock = clock;
    this.pool = connectionPool(options, clock);
    this.#unreachable = hostMemory(clock);
    this.#badTls = hostMemory(clock);
  }

  async run(hops: readonly NextHop[], errand: Errand): Promise<void> {
    const bad = hops.filter((hop) => this.#unreachable.has(hopName(hop)));
    for (const hop of hops) {
      if (!bad.includes(hop)) await this.#visit(hop, errand);
    }
    // Those that did not answer lately get their chance when there is nobody else.
    for (const hop of errand.hasReached ? [] : bad) await this.#visit(hop, errand);
    if (errand.waiting.length === 0) return;
    // No host at all, or none with an address.
    errand.settleMissing({ kind: "no-smarthost", name: hops.map(hopName).join(", ") });
  }

  async #visit(hop: NextHop, errand: Errand): Promise<void> {
    if (errand.waiting.length === 0) return;
    if (errand.signal.aborted) {
      errand.settleAll({ kind: "aborted", phase: "connect" });
      return;
    }
    const idle = this.pool.take(poolKey(hop));
    // The peer may have hung up just then. Nothing was sent that could arrive twice.
    if (idle && (await this.#transact(idle, hop, errand, true)) === "settled") return;
    const addresses = await hop.addresses();
    if ("kind" in addresses) errand.settleAll(addresses);
    else await this.#callEach(hop, addresses, errand);
  }

  async #callEach(hop: NextHop, addresses: readonly string[], errand: Errand): Promise<void> {
    let isReachable = false;
    for (const ip of preferredFirst(addresses, this.#options.prefer)) {
      if (errand.waiting.length === 0 || errand.addressesLeft <= 0) break;
      errand.addressesLeft -= 1;
      if (await this.#call(hop, ip, errand)) isReachable = true;
    }
    if (isReachable) this.#unreachable.forget(hopName(hop));
    else if (!errand.signal.aborted) this.#unreachable.note(hopName(hop));
  }

  /** Opens a session and sends the message; false when the host could not be spoken to. */
  async #call(hop: NextHop, ip: string, errand: Errand): Promise<boolean> {
    const connected = await this.#open(hop, ip, errand.signal);
    if (connected.kind === "failed") {
      errand.settleAll(connected.failure, { host: hop.host, ip, port: hop.port });
      return connected.failure.kind === "reply";
    }
    this.pool.opened(connected.client);
    await this.#transact(connected.client, hop, errand, false);
    return true;
  }

  /** Opportunistic encryption never stands between mail and its peer: after a failed handshake it goes on in clear. */
  async #open(hop: NextHop, ip: string, signal: AbortSignal): Promise<Connected> {
    const { host, port, implicitTls, credentials } = hop;
    const login = credentials === undefined ? {} : { credentials };
    const name = `${host}[${ip}]:${port}`;
    const mayFallBack = hop.tls === "opportunistic" && !implicitTls;
    const tls = mayFallBack && this.#badTls.has(name) ? "none" : hop.tls;
    const target = { host, ip, port, tls, implicitTls, ...login };
    const connected = await connectSmtp(target, this.#options, this.#clock, signal);
    if (connected.kind === "connected" || connected.failure.kind !== "tls") return connected;
    if (!mayFallBack) return connected;
    this.#badTls.note(name);
    return connectSmtp({ ...target, tls: "none" }, this.#options, this.#clock, signal);
  }

  async #transact(
    client: SmtpClient,
    hop: NextHop,
    errand: Errand,
    isReused: boolean,
  ): Promise<"settled" | "dead"> {
    const { envelope, signal } = errand;
    const commands = commandsFor(envelope, errand.waiting, client.announced);
    const beganAt = this.#clock.now();
    const abort = () => client.abort();
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
    const answers =
      commands.recipients.length === 0 ? [] : await client.transact(commands, envelope.content);
    signal.removeEventListener("abort", abort);
    if (isReused && diedIdle(answers, signal)) return "dead";
    errand.settle(client, commands, answers, beganAt);
    this.pool.give(poolKey(hop), client, errand.destination);
    return "settled";
  }
}

/** A session that ended before MAIL was answered, other than because the caller wanted it to. */
function diedIdle(answers: readonly Answer[], signal: AbortSignal): boolean {
  const [first] = answers;
  if (!first || signal.aborted) return false;
  if (first.kind === "reply") return first.phase === "mail" && first.reply.code === 421;
  return (first.kind === "lost" || first.kind === "timeout") && first.phase === "mail";
}

function hopName({ host, port }: NextHop): string {
  return `${host}:${port}`;
}

/** Sessions are alike when they lead to the same host in the same way, as the same user. */
function poolKey({ host, port, tls, implicitTls, credentials }: NextHop): string {
  const user = credentials ? JSON.stringify([credentials.user, credentials.password]) : "";
  return `${host}:${port} ${implicitTls ? "implicit" : ""} ${tls} ${user}`;
}

/** The addresses of the family that is preferred, then the others. */
export function preferredFirst(
  addresses: readonly string[],
  prefer: CourierOptions["prefer"],
): readonly string[] {
  if (prefer === "any") return addresses;
  const isPreferred = (address: string): boolean => isIPv6(address) === (prefer === "ipv6");
  return [...addresses.filter(isPreferred), ...addresses.filter((one) => !isPreferred(one))];
}
