import type { Clock } from "../lib/world.ts";
import { Parked } from "./parked.ts";
import type { ParkedConnections } from "./relay.ts";
import type { SmtpClient } from "./smtp-session.ts";

/** How long connections are kept, and how many. */
export interface PoolOptions {
  /** Messages that one connection carries at most. */
  readonly messagesPerConnectionMax: number;
  /** How long a connection waits for the next message. */
  readonly idleMs: number;
  /** Idle connections to all next hops together. */
  readonly idleConnectionsMax: number;
}

/** No connection is used for longer, so that changes behind a name are followed. */
export const CONNECTION_AGE_MS_MAX = 300_000;

/** Sessions that wait for more mail to the same next hop. How many run at once is not decided here. */
export interface ConnectionPool {
  /** The session that was used last, taken out of the pool. */
  take(key: string): SmtpClient | undefined;
  /** A session was opened, which counts as open until it closes. */
  opened(client: SmtpClient): void;
  /** Takes a session back after a transaction for `destination`: it waits for more mail, or gets its goodbye. */
  give(key: string, client: SmtpClient, destination: string): void;
  /** As `Relay.parked`. */
  readonly parked: ParkedConnections;
  stats(): { readonly open: number; readonly idle: number };
  /** Says goodbye to all idle sessions; later ones do not stay. Idempotent. */
  close(): Promise<void>;
}

interface Idle {
  readonly key: string;
  readonly client: SmtpClient;
  readonly until: number;
}

/** Makes an empty pool. */
export function connectionPool(options: PoolOptions, clock: Clock): ConnectionPool {
  return new Pool(options, clock);
}

class Pool implements ConnectionPool {
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  // In order of return, so that the first one of all expires first.
  readonly #idle = new Map<SmtpClient, Idle>();
  readonly #byKey = new Map<string, Idle[]>();
  /** The idle ones, and those that say goodbye. */
  readonly #parked = new Parked();
  #open = 0;
  #isClosed = false;
  #cancelSweep: (() => void) | undefined;

  constructor(options: PoolOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  take(key: string): SmtpClient | undefined {
    const same = this.#byKey.get(key);
    const entry = same?.pop();
    if (!entry) return undefined;
    if (same?.length === 0) this.#byKey.delete(key);
    this.#idle.delete(entry.client);
    this.#parked.delete(entry.client);
    return entry.client;
  }

  readonly parked: ParkedConnections = {
    count: (destination) => this.#parked.count(destination),
    dismiss: async (destination, most) => {
      const clients = this.#parked.of(destination);
      const excess = clients.slice(0, Math.max(0, clients.length - most));
      const entries = excess.flatMap((client) => this.#idle.get(client) ?? []);
      await Promise.all(entries.map((entry) => this.#dismiss(entry)));
    },
  };

  opened(client: SmtpClient): void {
    this.#open += 1;
    client.onClosed(() => {
      this.#open -= 1;
      const entry = this.#idle.get(client);
      if (entry) this.#forget(entry);
      this.#parked.delete(client);
    });
  }

  give(key: string, client: SmtpClient, destination: string): void {
    if (!client.failure) this.#parked.add(client, destination);
    if (client.usable) this.#keep(key, client);
    else if (!client.failure) void this.#renew(key, client);
  }

  stats(): { readonly open: number; readonly idle: number } {
    return { open: this.#open, idle: this.#idle.size };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelSweep?.();
    await Promise.all([...this.#idle.values()].map((entry) => this.#dismiss(entry)));
  }

  async #renew(key: string, client: SmtpClient): Promise<void> {
    if (await client.renew()) this.#keep(key, client);
  }

  #keep(key: string, client: SmtpClient): void {
    if (this.#isSpent(client)) {
      void client.goodbye();
      return;
    }
    const entry = { key, client, until: this.#clock.now() + this.#options.idleMs };
    this.#idle.set(client, entry);
    const same = this.#byKey.get(key);
    if (same) same.push(entry);
    else this.#byKey.set(key, [entry]);
    const [oldest] = this.#idle.values();
    if (this.#idle.size > this.#options.idleConnectionsMax && oldest) void this.#dismiss(oldest);
    this.#sweepAt(entry.until);
  }

  #isSpent({ uses, openedAt }: SmtpClient): boolean {
    if (this.#isClosed || uses >= this.#options.messagesPerConnectionMax) return true;
    return this.#clock.now() - openedAt >= CONNECTION_AGE_MS_MAX;
  }

  #forget({ key, client }: Idle): void {
    this.#idle.delete(client);
    const rest = this.#byKey.get(key)?.filter((other) => other.client !== client) ?? [];
    if (rest.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, rest);
  }

  #dismiss(entry: Idle): Promise<void> {
    this.#forget(entry);
    return entry.client.goodbye();
  }

  /** One timer for all: it runs when the oldest would expire, and finds what has. */
  #sweepAt(at: number): void {
    this.#cancelSweep ??= this.#clock.after(Math.max(1, at - this.#clock.now()), () => {
      this.#cancelSweep = undefined;
      this.#sweep();
    });
  }

  #sweep(): void {
    for (const entry of this.#idle.values()) {
      if (entry.until > this.#clock.now()) {
        this.#sweepAt(entry.until);
        return;
      }
      void this.#dismiss(entry);
    }
  }
}
