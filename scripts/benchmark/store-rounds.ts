import { startSink } from "../../tests/support/sink.ts";
import { type Contender, type OursOptions, startOurs } from "./contender.ts";
import { measureAccept, measureRelay } from "./measured.ts";
import { CPU, type Measures, RATE, type Setting } from "./measures.ts";
import { median } from "./statistics.ts";
import type { StoreKind } from "./stores.ts";

/** What is done to the mail: kept in the store, or handed on to a next hop that takes everything. */
export type Doing = "accept" | "relay";

export const TIMES_DISK = "times the disk engine";

/**
 * The case for one store: rounds on it and on the disk engine in turn, so that a slow machine shows in both, and beside
 * them what the bare server can do.
 */
export function storeRounds(kind: StoreKind, doing: Doing) {
  return async (setting: Setting): Promise<Measures> => {
    const onStore: Measures[] = [];
    const onDisk: Measures[] = [];
    const bare: number[] = [];
    const rounds = [
      async () => void onStore.push(await measureOnStore(kind, doing, setting, bare)),
      async () => void onDisk.push(await measureOn(doing, setting, {})),
    ];
    for (let run = 0; run < setting.runs; run += 1) {
      for (const round of run % 2 === 0 ? rounds : rounds.toReversed()) await round();
      console.log(`  ${kind.name}: ${text(onStore.at(-1))}; disk: ${text(onDisk.at(-1))}`);
    }
    const [store, disk] = [medians(onStore), medians(onDisk)];
    return {
      ...store,
      "messages/s on disk": disk[RATE] ?? Number.NaN,
      "CPU s per 1000 on disk": disk[CPU] ?? Number.NaN,
      [TIMES_DISK]: (store[RATE] ?? Number.NaN) / (disk[RATE] ?? Number.NaN),
      "bare writes/s": median(bare),
    };
  };
}

async function measureOnStore(
  kind: StoreKind,
  doing: Doing,
  setting: Setting,
  bare: number[],
): Promise<Measures> {
  await using store = await kind.start(setting.parent);
  const measures = await measureOn(doing, setting, { spool: store.url, servers: store.servers });
  const requests = Object.entries((await store.requests?.()) ?? {});
  bare.push(await store.bareRate(setting));
  const all = setting.warmup + setting.messages;
  const each = requests.map(([kind, count]) => [`${kind} per message`, count / all]);
  return { ...measures, ...Object.fromEntries(each) };
}

/** On the store that `on` names, or on a spool of its own. */
async function measureOn(
  doing: Doing,
  setting: Setting,
  on: Pick<OursOptions, "spool" | "servers">,
): Promise<Measures> {
  const { parent } = setting;
  const started = (nextHop: number | "none"): Promise<Contender> =>
    startOurs({ ...on, parent, nextHop });
  if (doing === "accept") {
    await using node = await started("none");
    return await measureAccept(node, setting, true);
  }
  await using sink = await startSink();
  await using node = await started(sink.port);
  return await measureRelay(node, sink, setting, true);
}

function medians(runs: readonly Measures[]): Measures {
  const names = Object.keys(runs[0] ?? {});
  const middle = (name: string) => median(runs.map((run) => run[name] ?? Number.NaN));
  return Object.fromEntries(names.map((name) => [name, middle(name)]));
}

function text(measures: Measures | undefined): string {
  return Object.entries(measures ?? {})
    .map(([name, value]) => `${value.toPrecision(3)} ${name}`)
    .join(", ");
}
