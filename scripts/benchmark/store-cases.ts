import type { AloneCase } from "./alone.ts";
import { type Doing, storeRounds } from "./store-rounds.ts";
import { POSTGRES, REDIS, S3, STORES, type StoreKind } from "./stores.ts";
import { storeMemory } from "./stores-memory.ts";
import { twoRelays } from "./two-relays.ts";
import { wakeUp } from "./wake-up.ts";

/** What is measured of the stores that several nodes share; each case needs the programs of its store. */
export const STORE_CASES: readonly AloneCase[] = [
  ...[REDIS, POSTGRES, S3].flatMap((kind) => [rounds(kind, "accept"), rounds(kind, "relay")]),
  {
    ...named(REDIS, "two-relays", "two relay-only nodes, the next hop being the limit"),
    run: twoRelays(REDIS),
  },
  {
    ...named(REDIS, "wake-up", "from an edge-only node to the next hop of an idle relay-only node"),
    run: wakeUp(REDIS),
  },
  ...STORES.map((kind) => ({
    ...named(kind, "memory", "200,000 messages queued, the next hop down"),
    run: storeMemory(kind),
  })),
];

function rounds(kind: StoreKind, doing: Doing): AloneCase {
  const title = doing === "accept" ? "accept" : "accept and relay";
  return { ...named(kind, doing, `${title}, connections reused`), run: storeRounds(kind, doing) };
}

function named(kind: StoreKind, name: string, title: string) {
  return {
    name: `${kind.name}-${name}`,
    title: `${kind.name}: ${title}`,
    onRequest: true,
    peers: kind.peers,
  };
}
