import { StoreConfigError } from "../store-config-error.ts";

export interface PostgresStorageOptions {
  /**
   * `postgres://user:password@host:port/database`, with `?schema=`, `?connections=`, `?durability=warn`, `?sslmode=`,
   * `?sslrootcert=` and `?socket=` where the defaults do not do.
   */
  readonly url: string;
}

/** What the URL says. */
export interface Place {
  /** For logs and errors: everything but the login. */
  readonly name: string;
  readonly schema: string;
  /** Connections of this process, that for news aside. */
  readonly connections: number;
  /** A server whose settings may lose mail that was accepted is warned of, not refused. */
  readonly isWarningEnough: boolean;
  readonly client: Bun.SQL.PostgresOrMySQLOptions;
}

const CONNECTIONS = 8;
const CONNECTIONS_MIN = 2;
const CONNECTIONS_MAX = 100;
const CONNECT_SECONDS = 5;
const SSL_MODES = ["disable", "prefer", "require", "verify-ca", "verify-full"] as const;
const KNOWN = ["schema", "connections", "durability", "sslmode", "sslrootcert", "socket"];

/** Reads the URL. Throws `StoreConfigError`, never with a password in it. */
export function placeOf({ url }: PostgresStorageOptions): Place {
  if (!URL.canParse(url)) throw new StoreConfigError("the URL of the database cannot be read");
  const { hostname, port, username, password, pathname, searchParams } = new URL(url);
  const unknown = [...searchParams.keys()].find((key) => !KNOWN.includes(key));
  if (unknown !== undefined) {
    throw new StoreConfigError(`?${unknown}= is not known; known are ${KNOWN.join(", ")}`);
  }
  const database = decoded(pathname.slice(1)) || decoded(username);
  const schema = searchParams.get("schema") ?? "slimta_queue";
  const socket = searchParams.get("socket");
  const where = socket ?? `${hostname || "localhost"}:${port || "5432"}`;
  return {
    name: `postgres://${where}/${database}?schema=${schema}`,
    schema,
    connections: connectionsOf(searchParams.get("connections")),
    isWarningEnough: warningOf(searchParams.get("durability")),
    client: {
      adapter: "postgres",
      hostname: decoded(hostname).replace(/^\[|\]$/gu, "") || "localhost",
      port: port === "" ? 5432 : Number(port),
      username: decoded(username),
      ...(password !== "" && { password: decoded(password) }),
      database,
      ...(socket !== null && { path: socket }),
      tls: tlsOf(searchParams.get("sslmode"), searchParams.get("sslrootcert")),
      connectionTimeout: CONNECT_SECONDS,
    },
  };
}

/** The same without what is secret, or might be, for logs and people. Never throws. */
export function shownPostgresUrl(text: string): string {
  const { host, pathname, searchParams } = new URL(text);
  const shown = ["schema", "socket"].flatMap((name) => {
    const value = searchParams.get(name);
    return value === null ? [] : [`${name}=${value}`];
  });
  return `postgres://${host}${pathname}${shown.length === 0 ? "" : `?${shown.join("&")}`}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    const text = "a % in the URL of the database begins no %XX; write it as %25";
    throw new StoreConfigError(text, { cause });
  }
}

function connectionsOf(text: string | null): number {
  const count = Number(text ?? CONNECTIONS);
  if (Number.isInteger(count) && count >= CONNECTIONS_MIN && count <= CONNECTIONS_MAX) return count;
  throw new StoreConfigError(
    `?connections=${text}: a whole number from ${CONNECTIONS_MIN} to ${CONNECTIONS_MAX}`,
  );
}

function warningOf(text: string | null): boolean {
  if (text === null || text === "require") return false;
  if (text === "warn") return true;
  throw new StoreConfigError(`?durability=${text}: require or warn`);
}

function tlsOf(mode: string | null, rootCertificate: string | null) {
  const known = SSL_MODES.find((each) => each === mode);
  if (mode !== null && known === undefined) {
    throw new StoreConfigError(`?sslmode=${mode}: one of ${SSL_MODES.join(", ")}`);
  }
  if (rootCertificate !== null) return Bun.file(rootCertificate);
  return known ?? "prefer";
}
