import { idMaker } from "../../lib/id.ts";
import type { World } from "../../lib/world.ts";
import { type Emit, fanOut } from "../../observe/events.ts";
import { FreshMessages } from "../fresh.ts";
import type { StorageInfo } from "../storage.ts";
import { Counts } from "./counts.ts";
import { Doubts } from "./doubts.ts";
import { DueView } from "./due-view.ts";
import { Endings } from "./endings.ts";
import { Epoch } from "./epoch.ts";
import { type Health, openHealth } from "./health.ts";
import { type Housekeeping, startHousekeeping } from "./housekeeping.ts";
import { probeKey } from "./keys.ts";
import { Leasing } from "./leasing.ts";
import { Lookout } from "./lookout.ts";
import { Lru } from "./lru.ts";
import type { MailHead } from "./mail-object.ts";
import { Marks } from "./marks.ts";
import { NewsWatch } from "./news.ts";
import type { ObjectStore } from "./object-store.ts";
import { Objects } from "./objects.ts";
import { Outboxes } from "./outboxes.ts";
import type { CloudPart } from "./part.ts";
import { type Known, Reader } from "./reader.ts";
import { Removals } from "./removals.ts";
import { Settler } from "./settler.ts";
import { States } from "./states.ts";
import { storeTime } from "./store-time.ts";
import type { WakeUp } from "./wake-up.ts";
import { Writer } from "./writer.ts";

/** States that this node has seen, so that most changes need not read them first. */
const SEEN_MAX = 10_000;

export interface CloudGiven {
  readonly store: ObjectStore;
  readonly wakeUp: WakeUp | undefined;
  readonly differenceMs: () => number;
  readonly world: World;
  readonly emit: Emit;
  readonly freshBytesMax: number;
  readonly pollMs: number;
}

/** All of the engine, put together. */
export interface CloudParts {
  readonly part: CloudPart;
  readonly health: Health;
  readonly fresh: FreshMessages;
  readonly reader: Reader;
  readonly writer: Writer;
  readonly settler: Settler;
  readonly endings: Endings;
  readonly view: DueView;
  readonly lookout: Lookout;
  readonly leasing: Leasing;
  readonly counts: Counts;
  readonly news: NewsWatch;
  readonly housekeeping: Housekeeping;
  /** As `ObjectStore.requests`. */
  requests(): StorageInfo["requests"];
  close(): Promise<void>;
}

export async function assemble(given: CloudGiven): Promise<CloudParts> {
  const { world, pollMs, wakeUp } = given;
  const view = new DueView();
  const counts: Counts = new Counts(
    () => part,
    () => messages.reader,
  );
  const { part, health } = openPart(given, view, counts);
  const messages = openMessages(part, given.freshBytesMax);
  await part.epoch.read();
  const lookout = new Lookout({ ...part, view, pollMs });
  const leasing = new Leasing({ ...messages, part, view, lookout });
  const news = new NewsWatch({
    clock: world.clock,
    time: part.time,
    lookout,
    leasing,
    wakeUp,
    pollMs,
  });
  const housekeeping = startHousekeeping({
    ...part,
    judge: (marker) => leasing.judge(marker),
    remark: (id) => leasing.remark(id),
  });
  return {
    ...{ ...messages, part, health, view, lookout, leasing, counts, news, housekeeping },
    requests: () => given.store.requests?.(),
    async close() {
      housekeeping.stop();
      news.close();
      counts.close();
      messages.doubts.close();
      messages.outboxes.close();
      health.stop();
      part.removals.close();
      await part.removals.idle();
      await part.objects.close();
      await wakeUp?.close();
    },
  };
}

/** The store, as everything here uses it. */
function openPart(
  { store, wakeUp, differenceMs, world, emit }: CloudGiven,
  view: DueView,
  counts: Counts,
) {
  const newId = idMaker(world.clock.now, world.random);
  const probe = probeKey(newId());
  const health = openHealth(world.clock, async () => {
    await store.put(probe, new Uint8Array(0));
    await store.remove([probe]);
  });
  const objects = new Objects(store, health);
  const removals = new Removals(objects, world.clock);
  const time = storeTime(world.clock, differenceMs);
  const marks = new Marks({ objects, removals, time }, view, (before, after) => {
    counts.noteChange(before, after);
  });
  const countCorrupt: Emit = (event) => {
    if (event.kind === "corrupt") counts.noteCorrupt();
  };
  const part: CloudPart = {
    ...{ objects, removals, marks, epoch: new Epoch(objects), time, world, wakeUp, newId },
    emit: fanOut([emit, countCorrupt]),
  };
  return { part, health };
}

/** All that reads and changes messages. */
function openMessages(part: CloudPart, freshBytesMax: number) {
  const fresh = new FreshMessages(freshBytesMax);
  const seen = new Lru<Known>(SEEN_MAX);
  const headOf = (id: string): Promise<MailHead | undefined> => reader.head(id);
  const states = new States(part);
  const endings = new Endings(part);
  const outboxes = new Outboxes({ part, states, endings, headOf });
  const reader: Reader = new Reader({ part, states, outboxes, endings, fresh, seen });
  const doubts = new Doubts({ part, states, endings, headOf });
  const writer = new Writer({ part, states, outboxes, doubts, fresh, seen, headOf });
  const settler = new Settler({ part, states, outboxes, endings, reader, writer, seen });
  return { fresh, seen, states, endings, outboxes, reader, doubts, writer, settler };
}
