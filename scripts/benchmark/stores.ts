import { AwsClient } from "aws4fetch";
import { openStorage } from "../../src/app/library/storages.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { ACCESS_KEY, CEPH_PEERS, SECRET_KEY, startCeph } from "../../tests/support/ceph.ts";
import { startChild } from "../../tests/support/child.ts";
import { PEERS } from "../../tests/support/peers.ts";
import { startPostgres } from "../../tests/support/postgres.ts";
import { startRedis } from "../../tests/support/redis.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import type { Setting } from "./measures.ts";

/** A private server that a queue is kept in, as durable as the product asks for; its data go with it. */
export interface Store extends AsyncDisposable {
  /** For `--spool`. */
  readonly url: string;
  /** Its processes by name; each stands for all below it. */
  readonly servers: Readonly<Record<string, number>>;
  /** Requests that it was asked so far, by kind, where each costs money. */
  requests?(): Promise<Readonly<Record<string, number>>>;
  /** Opens the queue in it from this process. */
  open(): Promise<QueueStorage>;
  /**
   * Writes of a message's size that the bare server confirms in a second, each on its own, when as many clients as there
   * are sessions ask for nothing else: what is left of it is what the queue costs.
   */
  bareRate(setting: Setting): Promise<number>;
}

/** A kind of store. */
export interface StoreKind {
  readonly name: string;
  /** Programs that it needs, as tests/support/peers.txt calls them. */
  readonly peers: readonly string[];
  /** Starts one below `parent`, on the disk that is measured. */
  start(parent: string): Promise<Store>;
}

/**
 * Redis with an append-only file that is synced before anything is confirmed. It is not rewritten while it is measured: at the
 * stock 64 MB that comes again and again while a backlog grows, and takes a third of the server's time.
 */
export const REDIS: StoreKind = {
  name: "redis",
  peers: ["redis-server", "redis-benchmark"],
  async start(parent) {
    const server = await startRedis({ parent, args: ["--auto-aof-rewrite-min-size", "4gb"] });
    const url = server.url();
    return {
      url,
      servers: { "redis-server": server.pid },
      open: () => openStorage(url),
      async bareRate({ messages, sessions, bytes }) {
        const amounts = ["-n", `${messages}`, "-c", `${sessions}`, "-d", `${bytes}`];
        const program = PEERS.get("redis-benchmark")?.program ?? "";
        const output = await outputOf([
          ...[program, "-h", "127.0.0.1", "-p", `${server.port}`],
          ...[...amounts, "-r", `${messages}`, "-t", "set", "--csv"],
        ]);
        return numberIn(output, /"SET","([\d.]+)"/u);
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};

/** PostgreSQL with its stock durability: `fsync` and `synchronous_commit` on. */
export const POSTGRES: StoreKind = {
  name: "postgres",
  peers: ["postgres", "pgbench"],
  async start(parent) {
    const settings = { shared_buffers: "128MB", max_connections: "100" };
    const server = await startPostgres(settings, "trust", parent);
    const url = server.url();
    return {
      url,
      servers: { postgres: server.pid },
      open: () => openStorage(url),
      async bareRate({ messages, sessions, bytes }) {
        await using dir = tempDir("pgbench", parent);
        const script = dir.join("insert.sql");
        const table = "CREATE TABLE IF NOT EXISTS bare (content bytea)";
        await server.query(table);
        await Bun.write(script, `INSERT INTO bare VALUES ('${"X".repeat(bytes)}');\n`);
        const each = Math.ceil(messages / sessions);
        const program = PEERS.get("pgbench")?.program ?? "";
        const output = await outputOf([
          ...[program, "--no-vacuum", "--file", script, "--client", `${sessions}`],
          ...["--transactions", `${each}`, url],
        ]);
        return numberIn(output, /tps = ([\d.]+) \(without/u);
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};

/** Ceph's S3 gateway; everything behind it is in memory, so that no disk is waited for. */
export const S3: StoreKind = {
  name: "s3",
  peers: CEPH_PEERS,
  async start() {
    const server = await startCeph();
    const bucket = await server.bucket();
    const url = server.url(bucket);
    return {
      url,
      servers: server.pids,
      requests: async () => requestsIn(await Bun.file(server.log).text(), bucket),
      open: () => openStorage(url),
      bareRate: ({ messages, sessions, bytes }) => {
        const login = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
        const client = new AwsClient({ ...login, service: "s3", region: "us-east-1" });
        const body = new Uint8Array(bytes);
        return ratePerSecond(messages, sessions, async (number) => {
          const object = `${server.endpoint}/${bucket}/bare/${number}`;
          const headers = { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
          const answer = await client.fetch(object, { method: "PUT", body, headers });
          if (!answer.ok) throw new Error(`no object: ${answer.status}`);
        });
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};

/** What the gateway's log says: `"PUT /bucket/key HTTP/1.1" 200`. */
function requestsIn(log: string, bucket: string): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [, method = "", path = ""] of log.matchAll(/"([A-Z]+) (\/\S*) HTTP\/1\.1" \d{3} /gu)) {
    if (!path.startsWith(`/${bucket}`) || path.includes("/bare/")) continue;
    const kind = /[?&]list-type=/u.test(path) ? "LIST" : method;
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

async function ratePerSecond(
  times: number,
  atOnce: number,
  run: (number: number) => Promise<void>,
): Promise<number> {
  let next = 0;
  const startedAt = performance.now();
  const session = async () => {
    while (next < times) {
      next += 1;
      await run(next);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, session));
  return times / ((performance.now() - startedAt) / 1000);
}

/** A directory, as a store: what the others are held against. */
export const DISK: StoreKind = {
  name: "disk",
  peers: [],
  async start(parent) {
    const directory = tempDir("bench", parent).join("spool");
    return {
      url: directory,
      servers: {},
      open: () => openStorage(directory),
      bareRate: () => Promise.resolve(Number.NaN),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
};

/** Every kind. */
export const STORES: readonly StoreKind[] = [DISK, REDIS, POSTGRES, S3];

async function outputOf(command: readonly string[]): Promise<string> {
  const child = startChild(command);
  const code = await child.exited;
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${child.output()}`);
  return child.output();
}

function numberIn(output: string, pattern: RegExp): number {
  const [, number] = pattern.exec(output) ?? [];
  if (number === undefined) throw new Error(`no figure in: ${output}`);
  return Number(number);
}
