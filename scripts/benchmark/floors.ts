import * as alone from "./alone.ts";
import { CPU_TIMES, KEPT_SHARE } from "./isolation.ts";
import { CPU, P99, RATE } from "./measures.ts";
import * as paced from "./paced.ts";
import { STORES } from "./stores.ts";
import { DEEP_PEAK } from "./stores-memory.ts";
import { TIMES_ONE } from "./two-relays.ts";
import { WAKE_P50 } from "./wake-up.ts";

/** What a figure must reach. `times`: compared with Postfix's; the others are absolute. */
export type Floor =
  | { readonly kind: "times"; readonly least: number }
  | { readonly kind: "below-postfix" }
  | { readonly kind: "at-most"; readonly most: number }
  | { readonly kind: "at-least"; readonly least: number };

/** The promises about speed and size, by case and measure. */
export const FLOORS: Readonly<Record<string, Floor>> = {
  [`accept-reused ${RATE}`]: { kind: "times", least: 3.5 },
  [`accept-reused ${CPU}`]: { kind: "at-most", most: 0.3 },
  [`accept-single ${RATE}`]: { kind: "times", least: 2.5 },
  [`relay-reused ${RATE}`]: { kind: "times", least: 5 },
  [`relay-reused ${CPU}`]: { kind: "at-most", most: 0.3 },
  [`relay-single ${RATE}`]: { kind: "times", least: 3.5 },
  [`relay-single ${CPU}`]: { kind: "at-most", most: 0.3 },
  [`latency ${P99}`]: { kind: "below-postfix" },
  [`latency-relay ${P99}`]: { kind: "below-postfix" },
  [`drain ${RATE}`]: { kind: "times", least: 2 },
  [`million ${alone.READY_MS}`]: { kind: "at-most", most: 500 },
  [`million ${alone.FLUSH_MS}`]: { kind: "at-most", most: 1000 },
  [`million ${alone.LIST_MS}`]: { kind: "at-most", most: 1000 },
  [`million ${alone.PEAK_MB}`]: { kind: "at-most", most: 200 },
  [`large ${alone.GROWTH_MB}`]: { kind: "at-most", most: 40 },
  [`idle ${alone.IDLE_MB}`]: { kind: "at-most", most: 90 },
  [`isolation ${KEPT_SHARE}`]: { kind: "at-least", least: 0.9 },
  [`isolation ${CPU_TIMES}`]: { kind: "at-most", most: 1.15 },
  [`isolation ${paced.HOP_P50_TIMES}`]: { kind: "at-most", most: 1.5 },
  [`isolation ${paced.HOP_P99_TIMES}`]: { kind: "at-most", most: 1.5 },
  [`isolation ${paced.DOT_P99_TIMES}`]: { kind: "at-most", most: 1.5 },
  ...backlogFloors("deferred-backlog"),
  ...backlogFloors("overdue-backlog"),
  [`redis-accept ${RATE}`]: { kind: "at-least", least: 3000 },
  [`redis-relay ${RATE}`]: { kind: "at-least", least: 2000 },
  [`redis-two-relays ${TIMES_ONE}`]: { kind: "at-least", least: 1.7 },
  [`redis-wake-up ${WAKE_P50}`]: { kind: "at-most", most: 20 },
  [`postgres-accept ${RATE}`]: { kind: "at-least", least: 2000 },
  [`s3-accept ${RATE}`]: { kind: "at-least", least: 300 },
  ...Object.fromEntries(
    STORES.map((kind) => [`${kind.name}-memory ${DEEP_PEAK}`, { kind: "at-most", most: 250 }]),
  ),
};

/** New mail may take no more than half as long again. */
function backlogFloors(name: string): Readonly<Record<string, Floor>> {
  const measures = [
    ...[paced.DOT_P50_TIMES, paced.DOT_P99_TIMES],
    ...[paced.HOP_P50_TIMES, paced.HOP_P99_TIMES],
  ];
  const floor: Floor = { kind: "at-most", most: 1.5 };
  return Object.fromEntries(measures.map((measure) => [`${name} ${measure}`, floor]));
}

/** The floor in words, and whether the figure reaches it; `undefined` when it cannot be told. */
export function judge(floor: Floor, ours: number, postfix: number | undefined) {
  const times = postfix === undefined ? Number.NaN : ours / postfix;
  switch (floor.kind) {
    case "times":
      return {
        text: `>= ${floor.least} x`,
        reached: postfix === undefined ? undefined : times >= floor.least,
      };
    case "below-postfix":
      return { text: "< Postfix", reached: postfix === undefined ? undefined : times < 1 };
    case "at-most":
      return { text: `<= ${floor.most}`, reached: ours <= floor.most };
    case "at-least":
      return { text: `>= ${floor.least}`, reached: ours >= floor.least };
  }
}
