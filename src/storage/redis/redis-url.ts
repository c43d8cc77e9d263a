import { isIP } from "node:net";

/** Where a Redis is, how it is reached, and what is asked of it: the URL of `spool.url` taken apart. */
export interface RedisAddress {
  readonly kind: "single" | "sentinel" | "cluster";
  /** One server, or those that tell where the servers are. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** What Sentinel calls the primary. */
  readonly service: string;
  readonly database: number;
  readonly username: string | null;
  readonly password: string | null;
  readonly tls: boolean;
  /** PEM file of the authority that signed the server's certificate; the system's own without it. */
  readonly caFile: string | null;
  /** File of one line, `user:password` or the password, that lets into Sentinel itself; the URL's login is the server's. */
  readonly sentinelLoginFile: string | null;
  /** What the names of all keys begin with, in braces. */
  readonly prefix: string;
  /** What to do with a server that does not promise to keep what it confirms. */
  readonly durability: "require" | "warn";
  /** Replicas that must have a message before it is acknowledged (`WAIT`). */
  readonly replicas: number;
  /** Servers, the primary included, that must have it on disk before it is acknowledged (`WAITAOF`, Redis 7.2). */
  readonly synced: number;
}

/** How the URL of one Redis looks, for whoever wrote another one. */
export const REDIS_URL =
  "redis://[user:password@]host[:port][/database] (rediss:// with TLS; redis+sentinel://host,host/service)";

const DEFAULT_PORTS = { single: 6379, sentinel: 26_379, cluster: 6379 } as const;
const PREFIX = /^[A-Za-z0-9._-]{1,64}$/u;
const CONFIRMING_MAX = 16;
const DATABASE_MAX = 10_000;
const HOSTS_MAX = 100;

const SHAPE =
  /^redis(?<secure>s?)(?:\+(?<kind>sentinel|cluster))?:\/\/(?:(?<login>.*)@)?(?<hosts>[^/?#@\s]+)(?:\/(?<path>[^?#\s]*))?(?:\?(?<query>[^#\s]*))?$/u;

/** Takes a URL apart; `undefined` when it is none of Redis. Every name after `?` is known, or it is none either. */
export function readRedisUrl(text: string): RedisAddress | undefined {
  const parts = SHAPE.exec(text)?.groups;
  if (parts === undefined) return undefined;
  const kind = (parts.kind ?? "single") as RedisAddress["kind"];
  const hosts = readHosts(parts.hosts ?? "", DEFAULT_PORTS[kind]);
  const login = readLogin(parts.login);
  const path = readPath(kind, parts.path ?? "");
  const query = readQuery(new URLSearchParams(parts.query ?? ""));
  if (!(hosts && login && path && query)) return undefined;
  if (kind === "single" && hosts.length > 1) return undefined;
  if (kind !== "sentinel" && query.sentinelLoginFile !== null) return undefined;
  return { kind, hosts, tls: parts.secure === "s", ...login, ...path, ...query };
}

/** The same without what is secret, for logs and people. */
export function shownRedisUrl(address: RedisAddress): string {
  const { kind, hosts, tls, service, database, prefix } = address;
  const scheme = `redis${tls ? "s" : ""}${kind === "single" ? "" : `+${kind}`}`;
  const at = hosts.map(({ host, port }) => `${isIP(host) === 6 ? `[${host}]` : host}:${port}`);
  const path = [service, database === 0 ? "" : String(database)].filter((part) => part !== "");
  return `${scheme}://${[at.join(","), ...path].join("/")}${prefix === DEFAULT_PREFIX ? "" : `?prefix=${prefix}`}`;
}

/** What all keys of the queue begin with: in a cluster they are in one slot. */
export function baseOf({ prefix }: RedisAddress): string {
  return `{${prefix}}`;
}

const DEFAULT_PREFIX = "slimta";

function readHosts(text: string, defaultPort: number): RedisAddress["hosts"] | undefined {
  const hosts = text.split(",").map((each) => {
    const [, inside, plain, digits] =
      /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/u.exec(each) ?? [];
    return {
      host: inside ?? plain ?? "",
      port: digits === undefined ? defaultPort : Number(digits),
    };
  });
  const isGood = hosts.every(({ host, port }) => host !== "" && port >= 1 && port <= 65_535);
  return isGood && hosts.length <= HOSTS_MAX ? hosts : undefined;
}

/** `user:password`, `:password`, or as many write it, the password alone. */
function readLogin(
  text: string | undefined,
): Pick<RedisAddress, "username" | "password"> | undefined {
  if (text === undefined || text === "") return { username: null, password: null };
  const colon = text.indexOf(":");
  const name = colon < 0 ? "" : text.slice(0, colon);
  const password = decode(text.slice(colon + 1));
  return {
    username: name === "" ? null : decode(name),
    password: password === "" ? null : password,
  };
}

/** The database, and in front of it the service where Sentinel is asked. A cluster has one database. */
function readPath(
  kind: RedisAddress["kind"],
  path: string,
): Pick<RedisAddress, "service" | "database"> | undefined {
  const parts = path.split("/").filter((part) => part !== "");
  const service = kind === "sentinel" ? decode(parts.shift() ?? "") : "";
  const [digits = "0", ...rest] = parts;
  const database = /^\d{1,5}$/u.test(digits) ? Number(digits) : Number.NaN;
  if (kind === "sentinel" && service === "") return undefined;
  if (kind === "cluster" && database !== 0) return undefined;
  return rest.length === 0 && database <= DATABASE_MAX ? { service, database } : undefined;
}

type Asked = Pick<
  RedisAddress,
  "prefix" | "durability" | "replicas" | "synced" | "caFile" | "sentinelLoginFile"
>;

const QUERY_NAMES = new Set([
  ...["prefix", "durability", "replicas", "synced", "ca_file", "sentinel_login_file"],
]);

function readQuery(query: URLSearchParams): Asked | undefined {
  const prefix = query.get("prefix") ?? DEFAULT_PREFIX;
  const durability = query.get("durability") ?? "require";
  const replicas = readCount(query.get("replicas"));
  const synced = readCount(query.get("synced"));
  const caFile = query.get("ca_file");
  if ([...query.keys()].some((name) => !QUERY_NAMES.has(name))) return undefined;
  if (!PREFIX.test(prefix) || (durability !== "require" && durability !== "warn")) return undefined;
  if (replicas === undefined || synced === undefined) return undefined;
  const sentinelLoginFile = query.get("sentinel_login_file");
  const files = [caFile, sentinelLoginFile];
  if (files.some((file) => file !== null && !file.startsWith("/"))) return undefined;
  return { prefix, durability, replicas, synced, caFile, sentinelLoginFile };
}

function readCount(text: string | null): number | undefined {
  if (text === null) return 0;
  return /^\d{1,2}$/u.test(text) && Number(text) <= CONFIRMING_MAX ? Number(text) : undefined;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
