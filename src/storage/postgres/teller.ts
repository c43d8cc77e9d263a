import type { Clock } from "../../lib/world.ts";
import type { Connections } from "./connections.ts";
import type { NewsItem } from "./news.ts";

/** The sending side of news. */
export interface Teller {
  tell(items: readonly NewsItem[]): void;
  /** Says that everybody had better look. */
  tellOfAll(): void;
  /** Resolves when all was told, or cannot be. Never rejects. */
  close(): Promise<void>;
}

export interface TellerParts {
  readonly channel: string;
  readonly clock: Clock;
  readonly connections: Connections;
  readonly node: string;
}

/** What comes within this time goes together: each notification wakes every node. */
const PAUSE_MS = 10;
/** PostgreSQL carries a little less than 8000 octets in one notification. */
const PAYLOAD_ITEMS_MAX = 100;
/** Of more than this everybody is told to look instead. */
const ITEMS_MAX = 1000;

/**
 * Tells other nodes of mail, in transactions of their own: one that notifies keeps all others that do from committing until
 * it is on the disk, so that the steps that store mail must not. What is lost here is found by whoever looks.
 */
export function openTeller({ channel, clock, connections, node }: TellerParts): Teller {
  let items: NewsItem[] = [];
  let isAllNews = false;
  let telling: Promise<void> | undefined;
  let isClosed = false;

  async function send(): Promise<void> {
    const payloads = payloadsOf(node, isAllNews ? [] : items);
    items = [];
    isAllNews = false;
    const text = `SELECT pg_notify($1, payload)
      FROM (SELECT set_config('synchronous_commit', 'off', true)) AS soon, unnest($2::text[]) AS payload`;
    await connections
      .run((connection) =>
        connection.unsafe(text, [channel, connection.array([...payloads], "TEXT")]),
      )
      .catch(() => undefined);
  }

  async function sendAll(): Promise<void> {
    while (items.length > 0 || isAllNews) {
      await send();
      if (!isClosed) await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve));
    }
    telling = undefined;
  }

  function start(): void {
    if (items.length > 0 || isAllNews) telling ??= sendAll();
  }

  return {
    tell(told) {
      items.push(...told);
      if (items.length > ITEMS_MAX) {
        items = [];
        isAllNews = true;
      }
      start();
    },
    tellOfAll() {
      isAllNews = true;
      start();
    },
    async close() {
      isClosed = true;
      await telling;
    },
  };
}

/** At least one. */
function payloadsOf(node: string, items: readonly NewsItem[]): readonly string[] {
  const pages = Math.max(1, Math.ceil(items.length / PAYLOAD_ITEMS_MAX));
  return Array.from({ length: pages }, (_, page) => {
    const told = items.slice(page * PAYLOAD_ITEMS_MAX, (page + 1) * PAYLOAD_ITEMS_MAX);
    return [node, ...told.map(({ timestamp, id }) => `${timestamp}:${id}`)].join(" ");
  });
}
