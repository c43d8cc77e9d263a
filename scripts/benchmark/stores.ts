import { realWorld } from "../../src/lib/world.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import { openPostgresStorage } from "../../src/storage/postgres/open.ts";
import { openRedisStorage } from "../../src/storage/redis/open.ts";
import { readRedisUrl } from "../../src/storage/redis/redis-url.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
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

const PARTS = { world: realWorld, emit: () => undefined };

/** Redis with an append-only file that is synced before anything is confirmed. */
export const REDIS: StoreKind = {
  name: "redis",
  peers: ["redis-server", "redis-benchmark"],
  async start(parent) {
    const server = await startRedis({ parent });
    const url = server.url();
    return {
      url,
      servers: { "redis-server": server.pid },
      async open() {
        const address = readRedisUrl(url);
        if (address === undefined) throw new Error(`${url} is no Redis URL`);
        return await openRedisStorage({ address, freshBytesMax: 0 }, PARTS);
      },
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
      open: () => openPostgresStorage({ url }, PARTS),
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

/** A directory, as a store: what the others are held against. */
export const DISK: StoreKind = {
  name: "disk",
  peers: [],
  async start(parent) {
    const directory = tempDir("bench", parent).join("spool");
    const options = { directory, freshBytesMax: 0, freeBytesMin: 0, freePercentMin: 0 };
    return {
      url: directory,
      servers: {},
      open: () => openDiskStorage(options, PARTS),
      bareRate: () => Promise.resolve(Number.NaN),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
};

/** Every kind. */
export const STORES: readonly StoreKind[] = [DISK, REDIS, POSTGRES];

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
