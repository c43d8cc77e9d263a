import { SQL } from "bun";
import type { Clock } from "../../lib/world.ts";

/** How soon a connection that was lost is made anew, and how often that is tried. */
const RETRY_MS = 1000;

/** A connection that hears what is told on one channel, and comes back by itself when it is lost. */
export interface Listener {
  /** Nothing is heard any more. Never rejects. */
  close(): Promise<void>;
}

export interface ListenerOptions {
  readonly client: Bun.SQL.PostgresOrMySQLOptions;
  readonly channel: string;
  readonly clock: Clock;
  readonly onHeard: (payload: string) => void;
  /** It listens, for the first time or again: what was told before was not heard. */
  readonly onListening: () => void;
}

/** Resolves when it listens; rejects when it cannot at the start. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { client, channel, clock, onHeard, onListening } = options;
  const sql = new SQL({ ...client, max: 1, onclose: lost });
  let subscription: Bun.SQL.ListenSubscription | undefined;
  let cancelRetry = (): void => undefined;
  let isClosed = false;

  async function listen(): Promise<void> {
    subscription = await sql.listen(channel, onHeard, onListening);
  }

  /** The client would come back by itself, but writes to the terminal whenever it cannot. */
  function lost(): void {
    if (subscription === undefined) return;
    void subscription.unlisten().catch(() => undefined);
    subscription = undefined;
    listenLater();
  }

  function listenLater(): void {
    if (isClosed) return;
    cancelRetry = clock.after(RETRY_MS, () => void listen().catch(listenLater));
  }

  async function close(): Promise<void> {
    isClosed = true;
    cancelRetry();
    await sql.close({ timeout: 0 }).catch(() => undefined);
  }

  try {
    await listen();
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}
