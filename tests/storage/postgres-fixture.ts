import { realWorld, type World } from "../../src/lib/world.ts";
import type { Event } from "../../src/observe/events.ts";
import { openPostgresStorage } from "../../src/storage/postgres/open.ts";
import type { PostgresStorage } from "../../src/storage/postgres/postgres-storage.ts";
import type { OpenedStorage } from "../contract/bench.ts";
import type { StoreServer } from "../contract/shared-store.ts";
import type { Postgres } from "../support/postgres.ts";
import type { TestWorld } from "./fixtures.ts";

let made = 0;

/** A schema that nobody has used yet. */
export function freshSchema(): string {
  made += 1;
  return `queue_${process.pid}_${made}`;
}

/** An empty queue under a simulated time; the engine's own timers are real. */
export async function openEmpty(server: Postgres, world: TestWorld): Promise<OpenedStorage> {
  const url = server.url(`?schema=${freshSchema()}&connections=2&durability=warn`);
  const clock = { ...world.clock, after: realWorld.clock.after };
  const parts = { world: { ...world, clock }, emit: () => undefined, isTimeSimulated: true };
  const storage = await openPostgresStorage({ url }, parts);
  return { storage, hasNews: true, [Symbol.asyncDispose]: () => storage.close() };
}

/** A node of a queue. */
export interface Node extends AsyncDisposable {
  readonly url: string;
  readonly storage: PostgresStorage;
  readonly events: readonly Event[];
}

export async function openNode(url: string, world: World = realWorld): Promise<Node> {
  const events: Event[] = [];
  const emit = (event: Event): void => void events.push(event);
  const storage = await openPostgresStorage({ url }, { world, emit });
  return { url, storage, events, [Symbol.asyncDispose]: () => storage.close() };
}

/** A PostgreSQL as the contract of shared engines sees it. */
export function postgresStoreServer({ port, url, crash, start }: Postgres): StoreServer {
  return {
    port,
    url(queue, through = port) {
      const at = new URL(url(`?schema=${queue}&connections=2&durability=warn`));
      at.port = String(through);
      return at.href;
    },
    crash,
    restart: () => start(),
  };
}
