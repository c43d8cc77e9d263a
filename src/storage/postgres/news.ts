import type { ReservedSQL } from "bun";
import type { Clock } from "../../lib/world.ts";
import { openListener } from "./listener.ts";
import type { Tables } from "./schema.ts";

/** A message that is due at `timestamp`, written or made so by another node. */
export interface NewsItem {
  readonly timestamp: number;
  readonly id: string;
}

/** What nodes tell each other: hints and never the truth, which is in the tables. */
export interface News {
  /** Sends what tells the other nodes of messages; they hear of it when the transaction commits, and only then. */
  tell(connection: ReservedSQL, items: readonly NewsItem[]): Promise<void>;
  /** The same about everything that waits. */
  tellOfAll(connection: ReservedSQL): Promise<void>;
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
/** PostgreSQL carries a little less than 8000 octets in one notification. */
const PAYLOAD_ITEMS_MAX = 100;
/** Whoever waits looks at the store this often at least: news may get lost, and nodes may die. */
export const LOOK_MS = 2000;

/**
 * News by LISTEN and NOTIFY on a connection of its own. When that is lost it comes back by itself, with a look at the
 * store for what was missed.
 */
export async function openNews(
  client: Bun.SQL.PostgresOrMySQLOptions,
  { channel }: Tables,
  { clock, node }: { readonly clock: Clock; readonly node: string },
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
  const listener = await openListener(own);
  isTimeToLook = false;

  return {
    async tell(connection, told) {
      if (told.length === 0) return;
      const payloads = Array.from(
        { length: Math.ceil(told.length / PAYLOAD_ITEMS_MAX) },
        (_, page) =>
          payloadOf(node, told.slice(page * PAYLOAD_ITEMS_MAX).slice(0, PAYLOAD_ITEMS_MAX)),
      );
      await connection.unsafe("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", [
        channel,
        connection.array(payloads, "TEXT"),
      ]);
    },
    async tellOfAll(connection) {
      await connection.unsafe("SELECT pg_notify($1, $2)", [channel, node]);
    },
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
      await listener.close();
    },
  };
}

function payloadOf(node: string, items: readonly NewsItem[]): string {
  return [node, ...items.map(({ timestamp, id }) => `${timestamp}:${id}`)].join(" ");
}
