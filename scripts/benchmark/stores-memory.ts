import { queueOf } from "../../tests/e2e/help.ts";
import { BINARY, startDaemon } from "../../tests/support/binary.ts";
import { freePort } from "../../tests/support/free-port.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import { fillStorage } from "../endurance/backlog.ts";
import type { Measures, Setting } from "./measures.ts";
import { forgetPeak, peakMb, residentMb } from "./processes.ts";
import type { StoreKind } from "./stores.ts";

const MESSAGES = 200_000;
const DOMAINS = 100;
/** In which the node looks at the pile, tries it, and finds its next hop down. */
const WATCHED_MS = 10_000;

export const DEEP_PEAK = "peak MB";

/** What a node needs on an empty queue, and what it needs when much is due and its next hop is down. */
export function storeMemory(kind: StoreKind) {
  return async ({ parent }: Setting): Promise<Measures> => {
    await using store = await kind.start(parent);
    const empty = await measure(store.url, parent, 0);
    const storage = await store.open();
    const startedAt = performance.now();
    const due = Date.now();
    await fillStorage(storage, {
      messages: MESSAGES,
      recipient: (index) => `r${index}@d${index % DOMAINS}.example`,
      due: () => due,
      attempts: 0,
    });
    await storage.close();
    const filled = MESSAGES / ((performance.now() - startedAt) / 1000);
    const deep = await measure(store.url, parent, MESSAGES);
    return {
      "resident MB, nothing queued": empty.resident,
      "resident MB": deep.resident,
      [DEEP_PEAK]: deep.peak,
      "stored/s in bulk": filled,
    };
  };
}

async function measure(spool: string, parent: string, size: number) {
  await using dir = tempDir("bench", parent);
  await using daemon = await startDaemon({
    command: [BINARY],
    spool,
    args: ["--relay", `smtp://127.0.0.1:${await freePort()}`, "--set", "admin.socket=off"],
    outputFile: dir.join("log"),
  });
  forgetPeak(daemon.pid);
  await Bun.sleep(WATCHED_MS);
  const queue = await queueOf(daemon);
  if (queue.size !== size) throw new Error(`${queue.size} messages are queued, not ${size}`);
  return { resident: residentMb(daemon.pid), peak: peakMb(daemon.pid) };
}
