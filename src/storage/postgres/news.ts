import type { Clock } from "../../lib/world.ts";
import type { Connections } from "./connections.ts";
import { openListener } from "./listener.ts";
import type { Tables } from "./schema.ts";
import { openTeller } from "./teller.ts";

/** A message that is due at `timestamp`, written or made so by another node. */
export interface NewsItem {
  readonly timestamp: number;
  readonly id: string;
}

/** What nodes tell each other: hints and never the truth, which is in the tables. */
export interface News {
  /** Tells the other nodes soon of messages that are stored. */
  tell(items: readonly NewsItem[]): void;
  /** The same about everything that waits. */
  tellOfAll(): void;
  /**
   * Resolves with what others told since the last call; with nothing when it is time to look at the store all the same,
   * since news may have been missed. `null` once closed, and when `signal` aborts.
   */
  wait(signal: AbortSignal): Promise<readonly NewsItem[] | null>;
  /** Nobody hears anything from then on. Never rejects. */
  close(): Promise<void>;
}

/** News that nobody has asked for yet; of more only this is kept: whoever looks at the store finds the rest. */
const ITEMS_MAX = 1000;
/** Whoever waits looks at the store this often at least: news may get lost, and nodes may die. */
export const LOOK_MS = 2000;

export interface NewsParts {
  readonly clock: Clock;
  readonly connections: Connections;
  /** A name of this node that no other has. */
  readonly node: string;
}

/**
 * News by LISTEN and NOTIFY on a connection of its own. When that is lost it comes back by itself, with a look at the
 * store for what was missed.
 */
export async function openNews(
  client: Bun.SQL.PostgresOrMySQLOptions,
  { channel }: Tables,
  { clock, connections, node }: NewsParts,
): Promise<News> {
  const items = new Map<string, NewsItem>();
  let isTimeToLook = false;
  let isClosed = false;
  let waiting: PromiseWithResolvers<void> | undefined;
  const wake = (): void => waiting?.resolve();

  function hear(payload: string): void {
    const [from, ...told] = payload.split(" ");
    if (from === node) return;
    for (const text of told) {
      const [timestamp = "", id = ""] = text.split(":");
      if (items.size < ITEMS_MAX) items.set(id, { timestamp: Number(timestamp), id });
    }
    isTimeToLook = true;
    wake();
  }

  function look(): void {
    isTimeToLook = true;
    wake();
  }

  const own = { client, channel, clock, onHeard: hear, onListening: look };
  const teller = openTeller({ channel, clock, connections, node });
  const listener = await openListener(own);
  isTimeToLook = false;

  return {
    tell: teller.tell,
    tellOfAll: teller.tellOfAll,
    async wait(signal) {
      const cancel = clock.after(LOOK_MS, look);
      signal.addEventListener("abort", wake, { once: true });
      try {
        while (!(isTimeToLook || isClosed || signal.aborted)) {
          waiting ??= Promise.withResolvers<void>();
          await waiting.promise;
          waiting = undefined;
        }
      } finally {
        cancel();
        signal.removeEventListener("abort", wake);
      }
      if (isClosed || signal.aborted) return null;
      isTimeToLook = false;
      const heard = [...items.values()];
      items.clear();
      return heard;
    },
    async close() {
      isClosed = true;
      wake();
      await Promise.all([teller.close(), listener.close()]);
    },
  };
}
