/**
 * A queue over maps of one's own, the parent's `DictStorage` over dictionaries: two plain `Map`s, two in a file that outlives
 * the process, or anything else that has `get`, `set`, `delete` and `values`.
 */
import {
  type MapOptions,
  newEnvelope,
  openBlackholeRelay,
  openMemoryStorage,
  openPersistentMaps,
  openQueue,
} from "slimta-queue";

/** Keeps one message in these maps and resolves with its id; nothing is delivered, since there is no relay. */
export async function keep(maps: MapOptions, text: string): Promise<string> {
  const storage = openMemoryStorage(maps);
  const queue = openQueue({ storage });
  const [id = ""] = await queue.enqueue(
    newEnvelope({ sender: "", recipients: ["ann@one.example"], message: `Subject: ${text}\n` }),
  );
  await storage.close();
  return id;
}

/** Delivers what the maps hold; resolves with the ids of what is gone. */
export async function deliver(maps: MapOptions): Promise<readonly string[]> {
  const storage = openMemoryStorage(maps);
  const { size } = await storage.getInfo();
  const gone: string[] = [];
  const isDone = Promise.withResolvers<void>();
  const relay = openBlackholeRelay();
  const queue = openQueue({
    storage,
    relay,
    onEvent(event) {
      if (event.kind === "removed") gone.push(event.id);
      if (gone.length === size) isDone.resolve();
    },
  });
  queue.start();
  await isDone.promise;
  await queue.drain(AbortSignal.timeout(5000));
  await relay.close();
  await storage.close();
  return gone;
}

/** Mail that one process keeps and a later one delivers: the parent's `shelve`. */
export async function acrossProcesses(path: string): Promise<readonly [string, readonly string[]]> {
  const first = openPersistentMaps(path);
  const id = await keep(first, "kept");
  first.close();
  const second = openPersistentMaps(path);
  const gone = await deliver(second);
  second.close();
  return [id, gone];
}
