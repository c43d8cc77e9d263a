import type { DeliveryEvent } from "./events.ts";
import type { Cell, Family, Registry } from "./registry.ts";
import { cleanWord } from "./sanitise.ts";

/** How many destinations have series of their own; the rest are counted together as `other`. */
export const METRIC_DESTINATIONS_MAX = 50;

/** A destination that had no deliveries for this long makes room when another needs it. */
export const METRIC_IDLE_MS = 60 * 60 * 1000;

/** Looking for an idle destination costs a walk over all of them: not more often than this. */
const SEARCH_MS = 60 * 1000;

const RESULTS = ["sent", "deferred", "bounced"] as const;

interface Destination {
  readonly sent: Cell;
  readonly deferred: Cell;
  readonly bounced: Cell;
  usedAt: number;
}

/** Counts deliveries by destination, in a bounded number of series. */
export function destinationCounts(registry: Registry) {
  const family = registry.counter(
    "slimta_destination_delivery_total",
    "Delivery attempts per recipient, by destination; beyond the first destinations in use, other.",
  );
  const known = new Map<string, Destination>();
  const other = destination(family, "other");
  let searchedAt = Number.NEGATIVE_INFINITY;

  const idle = (nowMs: number): string | undefined => {
    if (nowMs - searchedAt < SEARCH_MS) return undefined;
    searchedAt = nowMs;
    for (const [name, { usedAt }] of known) {
      if (nowMs - usedAt >= METRIC_IDLE_MS) return name;
    }
    return undefined;
  };

  const make = (name: string, nowMs: number): Destination => {
    if (known.size >= METRIC_DESTINATIONS_MAX) {
      const loser = idle(nowMs);
      if (loser === undefined) return other;
      known.delete(loser);
      for (const result of RESULTS) family.drop(labels(loser, result));
    }
    const made = destination(family, name);
    known.set(name, made);
    return made;
  };

  return {
    count(event: DeliveryEvent, nowMs: number): void {
      const name = cleanWord(event.destination);
      const counts = known.get(name) ?? (name === "other" ? other : make(name, nowMs));
      counts.usedAt = nowMs;
      counts[event.status].value += 1;
    },
  };
}

function destination(family: Family, name: string): Destination {
  const [sent, deferred, bounced] = RESULTS;
  return {
    sent: family.cell(labels(name, sent)),
    deferred: family.cell(labels(name, deferred)),
    bounced: family.cell(labels(name, bounced)),
    usedAt: 0,
  };
}

function labels(name: string, result: string) {
  return { destination: name, result };
}
