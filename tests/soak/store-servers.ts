import { type Postgres, startPostgres } from "../support/postgres.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import type { SoakedServer } from "./nodes-soak.ts";

/** The stores that nodes can share here, by the name that the script knows them by. */
export const STORES = ["redis", "postgres"] as const;
export type StoreName = (typeof STORES)[number];

/** Starts a server of one's own for a soak. */
export async function startStore(name: StoreName): Promise<SoakedServer & AsyncDisposable> {
  return name === "redis" ? overRedis(await startRedis()) : overPostgres(await startPostgres());
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
