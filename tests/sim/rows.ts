import type { MessageSummary, QueueStorage } from "../../src/storage/storage.ts";

/** Everything that is stored. */
export async function* rowsOf(store: QueueStorage): AsyncGenerator<MessageSummary> {
  for (let after: string | undefined = ""; after !== undefined; ) {
    const page: readonly MessageSummary[] = await store.list({ after, limit: 500 });
    yield* page;
    after = page.at(-1)?.id;
  }
}
