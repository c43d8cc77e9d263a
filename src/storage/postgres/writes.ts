import type { ReservedSQL } from "bun";
import { QueueError } from "../../mail/queue-error.ts";
import { type Batch, openBatch } from "../batch.ts";
import { sorted, weightOf } from "./changes.ts";
import { isAboutData } from "./errors.ts";
import type { Inserter, NewMessage } from "./insert.ts";
import type { News, NewsItem } from "./news.ts";
import type { Transactions } from "./transaction.ts";

/** The messages of one `write`. */
export interface Write {
  readonly messages: readonly NewMessage[];
  /** Nobody else can have these ids: one that is stored already belongs to another message. */
  readonly isFresh: boolean;
}

export interface WritesParts {
  readonly transactions: Transactions;
  readonly inserter: Inserter;
  readonly news: Pick<News, "tell">;
}

const LANES = 2;
const ITEMS_MAX = 256;
const BYTES_MAX = 8 * 1024 * 1024;

/** New messages, those of several writes in one transaction: each write whole or not at all (P2). */
export function openWrites({ transactions, inserter, news }: WritesParts): Batch<Write, void> {
  return openBatch<Write, void>({
    lanes: LANES,
    itemsMax: ITEMS_MAX,
    weightMax: BYTES_MAX,
    weigh: ({ messages }) => messages.reduce((sum, { envelope }) => sum + weightOf(envelope), 0),
    isOneToBlame: (error) => isAboutData(error) || error instanceof TakenError,
    async run(writes) {
      const messages = sorted(writes.flatMap((write) => write.messages));
      if (writes.every(({ isFresh }) => isFresh)) {
        await transactions.once((connection, step) =>
          inserter.insertFresh(connection, messages, step),
        );
      } else
        await transactions.run((connection) =>
          insertAbsent(connection, inserter, { writes, messages }),
        );
      news.tell(messages.flatMap(newsOf));
      return writes.map(() => undefined);
    },
  });
}

async function insertAbsent(
  connection: ReservedSQL,
  inserter: Inserter,
  {
    writes,
    messages,
  }: { readonly writes: readonly Write[]; readonly messages: readonly NewMessage[] },
): Promise<void> {
  const added = await inserter.insert(connection, messages);
  const fresh = writes.flatMap((write) => (write.isFresh ? write.messages : []));
  const taken = fresh.find(({ id }) => !added.has(id));
  if (taken) throw new TakenError(`id ${taken.id} is another message's`);
}

function newsOf({ id, due, lease, settlement }: NewMessage): readonly NewsItem[] {
  if (lease !== undefined || settlement?.held === true) return [];
  return [{ id, timestamp: settlement?.due ?? due }];
}

/** Two nodes have made the same id: the client is told to come again, and gets another one. */
class TakenError extends QueueError {
  override readonly name = "TakenError";
}
