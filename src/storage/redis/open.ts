import { idMaker } from "../../lib/id.ts";
import type { World } from "../../lib/world.ts";
import type { Emit } from "../../observe/events.ts";
import { FreshMessages } from "../fresh.ts";
import { ServerClock } from "../server-clock.ts";
import { StoreConfigError } from "../store-config-error.ts";
import { confirmation } from "./confirmation.ts";
import { type Connection, connect, SILENCE_MS } from "./connection.ts";
import { Doubts } from "./doubts.ts";
import { openError } from "./errors.ts";
import { openHealth } from "./health.ts";
import { latest, News } from "./news.ts";
import { watchPromises } from "./promise-watch.ts";
import { RedisStorage } from "./redis-storage.ts";
import { baseOf, type RedisAddress, shownRedisUrl } from "./redis-url.ts";
import { SeenRows } from "./seen-rows.ts";
import { Steps } from "./steps.ts";

export interface RedisStorageOptions {
  readonly address: RedisAddress;
  /** Octets of fresh messages that stay in memory for their first attempt. */
  readonly freshBytesMax: number;
  /** How long the server may owe an answer before what was asked fails. */
  readonly silenceMs?: number;
}

export interface RedisStorageParts {
  readonly world: World;
  readonly emit: Emit;
  /** What the server's clock is taken to say, for a world whose time is not real; its own without it. */
  readonly serverTime?: () => number;
}

const SEEN_ROWS_MAX = 20_000;

/**
 * Opens a queue in Redis. Rejects with `StoreConfigError` when the server refuses this user or does not promise to keep what
 * it confirms, with `QueueError` when it cannot be reached.
 */
export async function openRedisStorage(
  { address, freshBytesMax, silenceMs = SILENCE_MS }: RedisStorageOptions,
  { world, emit, serverTime }: RedisStorageParts,
): Promise<RedisStorage> {
  const where = shownRedisUrl(address);
  if (address.kind === "cluster" && address.replicas + address.synced > 0) {
    throw new StoreConfigError(`${where}: a cluster has min-replicas-to-write for replicas=`);
  }
  const connection = await connect(address, { clock: world.clock, silenceMs });
  try {
    const promises = watchPromises({ connection, address, emit });
    await promises.start();
    const { clock } = world;
    const base = baseOf(address);
    const time = new ServerClock(
      clock,
      async () => serverTime?.() ?? (await timeOf(connection, base)),
    );
    await time.measure();
    connection.onBack(() => void time.measure().catch(() => undefined));
    const newId = idMaker(clock.now, world.random);
    const deadline = (): number => (serverTime === undefined ? time.now() + silenceMs : 0);
    const part = { connection, base, time, world, node: newId(), deadline };
    const news = new News(part, await latest(connection, base));
    const ask = confirmation(connection, address);
    const complaint = () => promises.check();
    const health = openHealth({ connection, base, clock, confirm: ask, complaint });
    connection.onBack(() => void health.back());
    const steps = new Steps(connection, base, health);
    return new RedisStorage({
      ...part,
      emit,
      newId,
      confirm: () => steps.done("the others do not confirm it", ask),
      ...{ news, health },
      steps,
      doubts: new Doubts(part),
      fresh: new FreshMessages(freshBytesMax),
      seen: new SeenRows(SEEN_ROWS_MAX),
    });
  } catch (error) {
    connection.close();
    throw openError(where, error);
  }
}

/** Asked by the queue's key, so that it is that node of a cluster whose clock the queue goes by. */
async function timeOf(connection: Connection, base: string): Promise<number> {
  const ask = ["return redis.call('TIME')", 1, base];
  const [seconds, micros] = (await connection.command("eval", ask)) as string[];
  return Number(seconds) * 1000 + Number(micros) / 1000;
}
