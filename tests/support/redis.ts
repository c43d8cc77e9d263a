import { type Child, startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { type TempDir, tempDir } from "./temp-dir.ts";
import { until } from "./until.ts";

/** A Redis of the test's own, on loopback, with an append-only file that is synced before anything is confirmed. */
export interface RedisServer extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** `redis://127.0.0.1:PORT` and this behind it. */
  url(rest?: string): string;
  /** Runs redis-cli. Rejects when it fails or the server answers with an error. */
  cli(...args: readonly string[]): Promise<string>;
  /** KILL: what was not on the disk is gone. */
  crash(): Promise<void>;
  /** Starts it again over the same files, with more arguments if there are any. */
  restart(args?: readonly string[]): Promise<void>;
  /** STOP: it answers nothing and keeps its connections. */
  freeze(): void;
  thaw(): void;
}

export interface RedisOptions {
  /** More arguments of redis-server, such as `--requirepass`. */
  readonly args?: readonly string[];
  readonly port?: number;
  /** Where its directory lies; the system's temporary directory by default. */
  readonly parent?: string;
  /** Arguments of redis-cli that let it in. */
  readonly login?: readonly string[];
}

const SERVER = "/usr/bin/redis-server";
const CLI = "/usr/bin/redis-cli";

/** Starts redis-server on a free port, over a directory that goes with it. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const port = options.port ?? (await freePort());
  const dir = tempDir("redis", options.parent);
  let child = await start(port, dir, options.args ?? []);
  const cli = (...args: readonly string[]) => runCli(port, [...(options.login ?? []), ...args]);
  const ready = () => until("redis-server", () => isReady(port));
  await ready();
  return {
    port,
    get pid() {
      return child.pid;
    },
    url: (rest = "") => `redis://127.0.0.1:${port}${rest}`,
    cli,
    async crash() {
      child.kill("SIGKILL");
      await child.exited;
    },
    async restart(args = options.args ?? []) {
      await child.stop();
      child = await start(port, dir, args);
      await ready();
    },
    freeze: () => child.kill("SIGSTOP"),
    thaw: () => child.kill("SIGCONT"),
    async [Symbol.asyncDispose]() {
      child.kill("SIGCONT");
      child.kill("SIGKILL");
      await child.exited;
      await dir[Symbol.asyncDispose]();
    },
  };
}

async function start(port: number, dir: TempDir, args: readonly string[]): Promise<Child> {
  const own = ["--bind", "127.0.0.1", "--port", String(port), "--dir", dir.path, "--save", ""];
  const durable = ["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"];
  const quick = ["--repl-diskless-sync-delay", "0"];
  return startChild([SERVER, ...own, ...durable, ...quick, ...args]);
}

/** It answers, if only that this client may not ask. */
async function isReady(port: number): Promise<boolean> {
  const answer = await runCli(port, ["ping"]).catch((error: Error) => error.message);
  return /PONG|NOAUTH/u.test(answer);
}

async function runCli(port: number, args: readonly string[]): Promise<string> {
  const child = startChild([CLI, "-e", "-h", "127.0.0.1", "-p", String(port), ...args]);
  const code = await child.exited;
  const output = child.output().trim();
  if (code !== 0) throw new Error(output);
  return output;
}

/** A Sentinel that watches one primary and decides alone. */
export interface Sentinel extends AsyncDisposable {
  readonly port: number;
  /** Whether it could fail over to somebody by now. */
  knowsReplica(): Promise<boolean>;
}

/** Starts a Sentinel that calls the primary on this port `service`, and gives it up after half a second; `more` are lines of its configuration. */
export async function startSentinel(
  service: string,
  primaryPort: number,
  more: readonly string[] = [],
): Promise<Sentinel> {
  const port = await freePort();
  const dir = tempDir("sentinel");
  const config = dir.join("sentinel.conf");
  const lines = [
    "bind 127.0.0.1",
    `port ${port}`,
    `dir ${dir.path}`,
    `sentinel monitor ${service} 127.0.0.1 ${primaryPort} 1`,
    `sentinel down-after-milliseconds ${service} 500`,
    `sentinel failover-timeout ${service} 2000`,
    ...more,
  ];
  await Bun.write(config, `${lines.join("\n")}\n`);
  const child = startChild([SERVER, config, "--sentinel"]);
  await until("redis-sentinel", () => isReady(port));
  return {
    port,
    async knowsReplica() {
      const replicas = await runCli(port, ["sentinel", "replicas", service]);
      return /^slave$/mu.test(replicas) && /^ok$/mu.test(replicas);
    },
    async [Symbol.asyncDispose]() {
      await child.stop();
      await dir[Symbol.asyncDispose]();
    },
  };
}
