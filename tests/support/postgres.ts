import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { codeOf } from "../../src/lib/error-code.ts";
import { type Child, startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { PEERS } from "./peers.ts";
import { tempDir } from "./temp-dir.ts";

/** A PostgreSQL server of our own on 127.0.0.1, with data of its own that go with it. */
export interface Postgres extends AsyncDisposable {
  readonly port: number;
  /** The process whose tree is the whole server. */
  readonly pid: number;
  /** Of a user who may do everything, with the database `queue`; `search` is the part behind the question mark. */
  url(search?: string, login?: { readonly user?: string; readonly password?: string }): string;
  /** Runs statements as that user, on a connection of its own, and gives the rows of the last one. */
  query(text: string, database?: string): Promise<readonly Record<string, unknown>[]>;
  /** Starts it again with these settings; waits until it takes connections. */
  start(settings?: Readonly<Record<string, string>>): Promise<void>;
  /** Starts it anew so that it talks by TLS only; resolves with the file of its certificate, for 127.0.0.1. */
  requireTls(): Promise<string>;
  /** Ends it at once without writing anything more, as a crash does. */
  crash(): Promise<void>;
  /** Stops all its processes where they are, until `thaw`. */
  freeze(): void;
  thaw(): void;
}

export const PASSWORD = "a secret: word/with@signs";
const OWNER = "owner";

/**
 * Makes a server and starts it. PostgreSQL refuses to run as root, so that root runs it as the user that Debian's package
 * has made. Its data lie below `parent`, or the system's temporary directory.
 */
export async function startPostgres(
  settings: Readonly<Record<string, string>> = {},
  auth: "scram-sha-256" | "trust" = "scram-sha-256",
  parent?: string,
): Promise<Postgres> {
  const dir = tempDir("postgres", parent);
  const port = await freePort();
  const data = dir.join("data");
  mkdirSync(data, { mode: 0o700 });
  await Bun.write(dir.join("password"), PASSWORD);
  const own = async (): Promise<void> => {
    if (process.getuid?.() === 0) await run(["chown", "-R", "postgres:postgres", dir.path]);
  };
  await own();
  await run(
    asUser([
      program("initdb"),
      ...["--pgdata", data, "--username", OWNER, "--pwfile", dir.join("password")],
      ...["--auth", auth, "--encoding", "UTF8", "--locale", "C", "--no-sync"],
    ]),
  );
  let server: Child | undefined;

  const pids = (): readonly number[] => (server === undefined ? [] : family(server.pid));
  const signal = (name: NodeJS.Signals): void => {
    for (const pid of pids()) signalOne(pid, name);
  };

  const postgres: Postgres = {
    port,
    get pid() {
      return server?.pid ?? 0;
    },
    url(search = "", { user = OWNER, password = PASSWORD } = {}) {
      const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
      return `postgres://${login}@127.0.0.1:${port}/queue${search}`;
    },
    async query(text, database = "queue") {
      const sql = new Bun.SQL({
        adapter: "postgres",
        ...{ hostname: "127.0.0.1", port, username: OWNER, password: PASSWORD, database, max: 1 },
      });
      try {
        const result = await sql.unsafe(text).simple();
        return Array.isArray(result.at(-1)) ? result.at(-1) : result;
      } finally {
        await sql.close();
      }
    },
    async start(changed = {}) {
      const all = {
        ...{ port: String(port), listen_addresses: "127.0.0.1", unix_socket_directories: "" },
        ...{ max_connections: "60", shared_buffers: "32MB", logging_collector: "off" },
        ...settings,
        ...changed,
      };
      const flags = Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
      rmSync(`${data}/postmaster.pid`, { force: true });
      server = startChild(asUser([program("postgres"), "-D", data, ...flags]), { cwd: dir.path });
      await server.line(/database system is ready to accept/u, 30_000);
    },
    async requireTls() {
      const [certificate, key, access] = ["server.crt", "server.key", "hba.conf"].map((name) =>
        dir.join(name),
      ) as [string, string, string];
      await run([
        ...["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=127.0.0.1"],
        ...["-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
      ]);
      await Bun.write(access, "hostssl all all 127.0.0.1/32 scram-sha-256\n");
      await own();
      await postgres.crash();
      const files = { ssl_cert_file: certificate, ssl_key_file: key, hba_file: access };
      await postgres.start({ ssl: "on", ...files });
      return certificate;
    },
    async crash() {
      // Its own word for a crash: every process ends at once, and the next start recovers from the log.
      server?.kill("SIGQUIT");
      await server?.exited;
    },
    freeze: () => signal("SIGSTOP"),
    thaw: () => signal("SIGCONT"),
    async [Symbol.asyncDispose]() {
      signal("SIGCONT");
      await postgres.crash();
      await dir[Symbol.asyncDispose]();
    },
  };
  await postgres.start();
  await postgres.query("CREATE DATABASE queue", "postgres");
  return postgres;
}

/** One that has ended meanwhile is none: the server's own processes come and go. */
function signalOne(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (codeOf(error) !== "ESRCH") throw error;
  }
}

function program(name: string): string {
  const postgres = PEERS.get("postgres")?.program ?? "";
  return postgres.replace(/postgres$/u, name);
}

function asUser(command: readonly string[]): readonly string[] {
  if (process.getuid?.() !== 0) return command;
  return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", ...command];
}

async function run(command: readonly string[]): Promise<void> {
  const child = startChild(command);
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${child.output()}`);
}

/** A process and its children; nobody once it has ended. */
function family(pid: number): readonly number[] {
  const path = `/proc/${pid}/task/${pid}/children`;
  if (!existsSync(path)) return [];
  return [pid, ...readFileSync(path, "utf8").split(" ").filter(Boolean).map(Number)];
}
