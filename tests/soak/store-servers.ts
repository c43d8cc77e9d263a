import { type Ceph, startCeph } from "../support/ceph.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import type { SoakedServer } from "./nodes-soak.ts";

/** The stores that nodes can share here, by the name that the script knows them by. */
export const STORES = ["redis", "postgres", "s3"] as const;
export type StoreName = (typeof STORES)[number];

/** Starts a server of one's own for a soak. */
export async function startStore(name: StoreName): Promise<SoakedServer & AsyncDisposable> {
  switch (name) {
    case "redis":
      return overRedis(await startRedis());
    case "postgres":
      return overPostgres(await startPostgres());
    case "s3":
      return await overCeph(await startCeph());
  }
}

function overRedis(server: RedisServer): SoakedServer & AsyncDisposable {
  return {
    spool: server.url("?prefix=soak"),
    crash: server.crash,
    restart: () => server.restart(),
    freeze: server.freeze,
    thaw: server.thaw,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function overPostgres(server: Postgres): SoakedServer & AsyncDisposable {
  return {
    spool: server.url("?schema=soak&connections=4"),
    crash: server.crash,
    restart: () => server.start(),
    freeze: server.freeze,
    thaw: server.thaw,
    [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
  };
}

/** Its gateway alone is killed and frozen. */
async function overCeph(server: Ceph): Promise<SoakedServer & AsyncDisposable> {
  return {
    spool: server.url(await server.bucket(), "&poll=200ms"),
    crash: server.crash,
    restart: server.restart,
    freeze: server.freeze,
    thaw: server.thaw,
    [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
  };
}
