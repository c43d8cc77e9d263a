import { readFileSync } from "node:fs";
import { Cluster, Command, Redis } from "ioredis";
import type { Clock } from "../../lib/world.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { messageOf, openError } from "./errors.ts";
import { SCRIPTS, type ScriptName } from "./lua.ts";
import { waitingForSlot } from "./lua-moving.ts";
import { type RedisAddress, shownRedisUrl } from "./redis-url.ts";

/** What a command takes. */
export type Argument = string | number | Uint8Array;

/** How long a server may owe an answer, unless told. */
export const SILENCE_MS = 5000;
const CONNECT_MS = 5000;
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 1000;

/** One connection to Redis, or to a cluster of it: the only file that knows the client library. */
export interface Connection {
  /**
   * Runs a script on a queue. Several are done in the order of asking as a rule, but a server that has just started, or that
   * gives the queue away, is asked again. Rejects with the server's error, or when the connection is lost: then nobody
   * knows whether it was done, and it is not done again.
   */
  run(script: ScriptName, base: string, args: readonly Argument[]): Promise<unknown>;
  /** The same, with bytes in the answer. */
  runForBytes(script: ScriptName, base: string, args: readonly Argument[]): Promise<unknown>;
  /** Any command; one key at most, the first argument. */
  command(name: string, args: readonly Argument[]): Promise<unknown>;
  commandForBytes(name: string, args: readonly Argument[]): Promise<unknown>;
  /** A command without a key, at the server that has this queue. */
  atQueue(base: string, name: string, args: readonly string[]): Promise<unknown>;
  /** Why commands cannot be sent at this moment; `undefined` while they can. */
  readonly down: string | undefined;
  /** Called each time the connection is there again. */
  onBack(listener: () => void): void;
  /** Another connection like it, for reads that block for `blockMs`. */
  another(blockMs: number): Promise<Connection>;
  /** Ends it. What still runs is rejected. */
  close(): void;
}

type Client = Redis | Cluster;

/** Connects, or rejects with what is wrong: `StoreConfigError` when trying again would not help. */
export async function connect(
  address: RedisAddress,
  { clock, silenceMs }: ConnectParts,
): Promise<Connection> {
  const where = shownRedisUrl(address);
  const state: State = { isStarting: true, reason: "" };
  const client = clientOf(address, state, silenceMs);
  client.on("error", (error: Error) => {
    state.reason = messageOf(error);
    state.error = error;
  });
  try {
    // A cluster in which slots are nowhere would be asked for ever.
    if (client instanceof Cluster) await within(client.connect(), clock, silenceMs);
    else await client.connect();
    // A database that does not exist is only told of in passing.
    if (state.error?.name === "ReplyError") throw state.error;
  } catch (error) {
    client.disconnect();
    throw openError(where, state.error ?? error);
  }
  state.isStarting = false;
  return connectionOver(client, state, (blockMs) =>
    connect(address, { clock, silenceMs: silenceMs + blockMs }),
  );
}

export interface ConnectParts {
  readonly clock: Clock;
  /** A server that owes an answer and says nothing for so long counts as gone. */
  readonly silenceMs: number;
}

async function within(work: Promise<void>, clock: Clock, ms: number): Promise<void> {
  const late = Promise.withResolvers<never>();
  const cancel = clock.after(ms, () => late.reject(new Error("Connection is closed: too late")));
  try {
    await Promise.race([work, late.promise]);
  } finally {
    cancel();
    // Whoever comes second has nobody to tell.
    work.catch(() => undefined);
  }
}

interface State {
  isStarting: boolean;
  reason: string;
  error?: Error;
}

function connectionOver(client: Client, state: State, another: Connection["another"]): Connection {
  const methods = client as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const asked = (name: string, args: readonly Argument[]): Promise<unknown> => {
    const down = downOf(client, state);
    if (down !== undefined) return Promise.reject(new QueueError(down, { cause: new Error(down) }));
    return methods[name]?.call(client, ...args.map(bufferOf)) ?? Promise.reject(new Error(name));
  };
  return {
    run: (script, base, args) => asked(methodOf(script), [base, ...args]),
    runForBytes: (script, base, args) => asked(`${methodOf(script)}Buffer`, [base, ...args]),
    command: (name, args) => asked(name, args),
    commandForBytes: (name, args) => asked(`${name}Buffer`, args),
    async atQueue(base, name, args) {
      if (client instanceof Cluster) {
        await keepInTouch(client);
        // Who has it no more sends the client on.
        await asked("exists", [base]);
      }
      return await serverOf(client, base).call(name, [...args]);
    },
    get down() {
      return downOf(client, state);
    },
    onBack: (listener) => void client.on("ready", listener),
    another,
    close: () => client.disconnect(),
  };
}

function downOf(client: Client, { reason }: State): string | undefined {
  if (client.status === "ready") return undefined;
  return `the Redis server cannot be reached${reason === "" ? "" : `: ${reason}`}`;
}

/** So that the library knows whom to ask instead of one that is cut off from the others. */
async function keepInTouch(cluster: Cluster): Promise<void> {
  cluster.refreshSlotsCache();
  // While a slot moves it asks anybody, and fails where it is only just connecting.
  await Promise.allSettled(cluster.nodes("master").map((node) => node.ping()));
}

function serverOf(client: Client, base: string): Redis {
  if (!(client instanceof Cluster)) return client;
  const slot = new Command("exists", [base]).getSlot();
  const [owner] = client.slots[slot] ?? [];
  const nodes = client.nodes("master");
  const found = nodes.find(({ options: { host, port } }) => `${host}:${port}` === owner);
  if (found === undefined) throw new QueueError("the Redis cluster does not say who has the queue");
  return found;
}

function methodOf(script: ScriptName): string {
  return `queue_${script}`;
}

/** The library takes other byte arrays for objects. */
function bufferOf(argument: Argument): Argument {
  if (!(argument instanceof Uint8Array)) return argument;
  return Buffer.from(argument.buffer, argument.byteOffset, argument.byteLength);
}

function clientOf(address: RedisAddress, state: State, silenceMs: number): Client {
  const { kind, hosts, service, tls, database } = address;
  const retryStrategy = retryOf(state);
  const options = optionsOf(address, silenceMs);
  switch (kind) {
    case "cluster":
      return new Cluster([...hosts], {
        ...COMMON,
        scripts: scriptsOf(waitingForSlot),
        lazyConnect: true,
        redisOptions: options,
        clusterRetryStrategy: retryStrategy,
        // It would send again what may have been done.
        retryDelayOnFailover: 0,
        // It would ask anybody, also one who is gone, and say that instead.
        retryDelayOnClusterDown: 0,
      });
    case "sentinel":
      return new Redis({
        ...options,
        ...COMMON,
        db: database,
        retryStrategy,
        sentinels: [...hosts],
        name: service,
        sentinelRetryStrategy: retryStrategy,
        ...sentinelLogin(address),
        enableTLSForSentinelMode: tls,
        ...(options.tls && { sentinelTLS: options.tls }),
      });
    case "single":
      return new Redis({ ...options, ...COMMON, db: database, retryStrategy, ...hosts[0] });
  }
}

/** Sentinels have users of their own; a file, since a URL has room for one login only. */
function sentinelLogin({ sentinelLoginFile: file }: RedisAddress) {
  if (file === null) return {};
  const text = readFileSync(file, "utf8").trim();
  const colon = text.indexOf(":");
  const password = { sentinelPassword: text.slice(colon + 1) };
  return colon > 0 ? { ...password, sentinelUsername: text.slice(0, colon) } : password;
}

/** While it starts, whoever starts it is told at once what is wrong. */
function retryOf(state: State): (times: number) => number | null {
  return (times) =>
    state.isStarting ? null : Math.min(RETRY_FIRST_MS * 2 ** Math.min(times, 10), RETRY_MAX_MS);
}

/** A command is done once or fails: neither kept for later nor sent again. */
const COMMON = {
  enableOfflineQueue: false,
  // The library's own pipelines run one at a time, so that everything would wait for everything; batches are made here.
  enableAutoPipelining: false,
  scripts: scriptsOf((lua) => lua),
};

function scriptsOf(form: (lua: string) => string) {
  const entries = Object.entries(SCRIPTS);
  return Object.fromEntries(
    entries.map(([name, lua]) => [`queue_${name}`, { lua: form(lua), numberOfKeys: 1 }]),
  );
}

function optionsOf({ username, password, tls, caFile }: RedisAddress, silenceMs: number) {
  return {
    lazyConnect: true,
    protocol: 2 as const,
    ...(username !== null && { username }),
    ...(password !== null && { password }),
    ...(tls && { tls: caFile === null ? {} : { ca: readFileSync(caFile, "utf8") } }),
    connectTimeout: Math.min(CONNECT_MS, silenceMs),
    socketTimeout: silenceMs,
    autoResendUnfulfilledCommands: false,
    // With any other number what was under way when the connection broke would never be answered.
    maxRetriesPerRequest: 0,
    // The primary became a replica: the next one is asked for.
    reconnectOnError: (error: Error): boolean => error.message.startsWith("READONLY"),
  };
}
