import type { World } from "../../src/lib/world.ts";
import { bytesContent } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import { reply } from "../../src/mail/reply.ts";
import type { MoveReport } from "../../src/moving/report.ts";
import { type TransferParts, transfer } from "../../src/moving/transfer.ts";
import { openMemoryStorage } from "../../src/storage/memory/memory-storage.ts";
import type { MessageRow } from "../../src/storage/message-row.ts";
import type { QueueStorage, StoredMessage } from "../../src/storage/storage.ts";
import { bytesOf, envelope, idOf, type TestWorld, testWorld } from "../storage/fixtures.ts";

/** A store that outlives the process which has it open. */
export interface KeptStore {
  /** Opens it as a new process would. */
  open(): QueueStorage;
}

export function keptStore(world: World): KeptStore {
  const envelopes = new Map<string, Envelope>();
  const meta = new Map<string, MessageRow>();
  return {
    open: () => openMemoryStorage({ bodyBytesMax: 2 ** 30 }, { world, envelopes, meta }),
  };
}

/** Two kept stores, and mail of every kind in the first one. */
export async function twoStores(count: number) {
  const world = testWorld();
  const [from, to] = [keptStore(world), keptStore(world)];
  const ids = await fill(from.open(), count);
  return { world, from, to, ids };
}

/** Messages of every kind: untouched, deferred with a history, held. */
export async function fill(storage: QueueStorage, count: number): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, (_, index) => idOf(index + 1));
  for (const [index, id] of ids.entries()) {
    const to = [`a${index}@one.example`, `b${index}@two.example`, `c${index}@one.example`];
    const text = new TextEncoder().encode(`Subject: ${index}\r\n\r\n.${"\u00e9".repeat(index)}`);
    const given = envelope({ sender: `s${index}@x`, to, content: bytesContent(text) });
    const dsn = { envid: `e${index}`, ret: "HDRS" as const };
    await storage.write([{ ...given, dsn, receivedAt: 1000 + index }], 5000 + index, { ids: [id] });
    if (index % 3 > 0) await storage.settle(id, HISTORY);
    if (index % 3 === 2) await storage.settle(id, { held: true });
  }
  return ids;
}

const HISTORY = {
  attempts: 3,
  due: 77_000,
  delayNotified: true,
  recipients: [
    { index: 0, status: "delivered" as const, reply: reply(250, "2.0.0", "Ok"), relay: "mx:25" },
    { index: 1, status: "pending" as const, reply: reply(450, "4.0.0", "Later"), relay: "mx:25" },
  ],
};

/** Everything that a message is, for a comparison. */
export async function wholeOf(storage: QueueStorage, id: string) {
  const { lease: _, ...message }: StoredMessage = await storage.get(id);
  const { content, ...facts } = message.envelope;
  return {
    ...message,
    envelope: facts,
    text: Buffer.from(await bytesOf(content)).toString("latin1"),
  };
}

export async function everythingIn(storage: QueueStorage) {
  const summaries = await storage.list({ limit: 10_000 });
  return await Promise.all(summaries.map(({ id }) => wholeOf(storage, id)));
}

/** A run of the same transfer as always, in a process of its own. */
export function run(
  from: QueueStorage,
  to: QueueStorage,
  world: TestWorld,
  given: Partial<TransferParts> = {},
): Promise<MoveReport> {
  runs += 1;
  return transfer({
    from: { storage: from, name: "/from" },
    to: { storage: to, name: "/to" },
    clock: world.clock,
    holder: `run-${runs}`,
    signal: new AbortController().signal,
    onProgress: () => undefined,
    ...given,
  });
}

let runs = 0;
