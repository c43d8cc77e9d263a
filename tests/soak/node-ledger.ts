import type { Take } from "../../src/selftest/ledger-receiver.ts";

/** What each node has delivered, by number: every node has a next hop of its own. */
export type Deliveries = readonly ReadonlyMap<number, readonly Take[]>[];

/** A time in which what a node did may not have become known: it was killed or broken off, or stood still. */
export interface Excuse {
  readonly node: number;
  readonly from: number;
  readonly to: number;
}

/** A time in which the store recorded nothing. */
export type Outage = Omit<Excuse, "node">;

/** What a store does not learn while it is away it learns so long after that, unless the node dies before. */
const CATCH_UP_MS = 4000;

/** What the store was away for just before an excuse was not recorded either. */
export function extended(excuse: Excuse, outages: readonly Outage[]): Excuse {
  const before = outages.filter(
    ({ from, to }) => to + CATCH_UP_MS >= excuse.from && from < excuse.from,
  );
  const first = Math.min(excuse.from, ...before.map(({ from }) => from));
  return first === excuse.from ? excuse : extended({ ...excuse, from: first }, outages);
}

/**
 * Outages that follow each other so closely that what waits for the first is not recorded before the last. When they are
 * as long as `leaseMs`, no node could renew its leases: each has an excuse.
 */
export function excusedByOutages(
  outages: readonly Outage[],
  leaseMs: number,
  nodes: number,
): readonly Excuse[] {
  const joined: Outage[] = [];
  for (const outage of outages.toSorted((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last !== undefined && last.to + CATCH_UP_MS >= outage.from) {
      joined.splice(-1, 1, { from: last.from, to: outage.to });
    } else joined.push(outage);
  }
  const long = joined.filter(({ from, to }) => to - from >= leaseMs);
  return long.flatMap((outage) => {
    return Array.from({ length: nodes }, (_, node) => ({ node, ...outage }));
  });
}

/** The ledger of the clients held against those of the nodes. */
export interface NodeBalance {
  readonly acknowledged: number;
  readonly delivered: number;
  readonly lost: readonly number[];
  /** Delivered by two nodes at the same moment. */
  readonly overlapping: readonly number[];
  /** Delivered once more, all of them, and those without an excuse. */
  readonly repeated: readonly number[];
  readonly unexcused: readonly number[];
}

interface Delivery extends Take {
  readonly node: number;
}

/**
 * Every acknowledged number must have been delivered; once more only when the node that did it before had an excuse then, or
 * its answer could not be read; by two nodes at a time never, unless one of them stood still in the middle of it. Pure.
 */
export function nodeBalance(
  acknowledged: readonly number[],
  deliveries: Deliveries,
  excuses: readonly Excuse[],
): NodeBalance {
  const all = new Map<number, Delivery[]>();
  for (const [node, taken] of deliveries.entries()) {
    for (const [number, takes] of taken) {
      const own = takes.map((take) => ({ ...take, node }));
      all.set(
        number,
        [...(all.get(number) ?? []), ...own].toSorted((a, b) => a.at - b.at),
      );
    }
  }
  const numbersWhere = (isSo: (takes: readonly Delivery[]) => boolean): readonly number[] =>
    [...all].filter(([, takes]) => isSo(takes)).map(([number]) => number);
  const isExcused = ({ node, since, at, answered }: Delivery): boolean =>
    !answered || excuses.some((each) => each.node === node && each.from <= at && each.to >= since);
  return {
    acknowledged: acknowledged.length,
    delivered: acknowledged.filter((number) => all.has(number)).length,
    lost: acknowledged.filter((number) => !all.has(number)),
    overlapping: numbersWhere((takes) => pairs(takes).some((pair) => overlap(pair, isExcused))),
    repeated: numbersWhere(({ length }) => length > 1),
    unexcused: numbersWhere((takes) => !takes.slice(0, -1).every(isExcused)),
  };
}

function pairs(takes: readonly Delivery[]): readonly (readonly [Delivery, Delivery])[] {
  return takes.flatMap((one, index) =>
    takes.slice(index + 1).map((other): readonly [Delivery, Delivery] => [one, other]),
  );
}

function overlap(
  [one, other]: readonly [Delivery, Delivery],
  isExcused: (take: Delivery) => boolean,
): boolean {
  const isAtOnce = one.since < other.at && other.since < one.at;
  return isAtOnce && one.node !== other.node && !isExcused(one) && !isExcused(other);
}

/** What does not balance, in words; empty when every promise was kept. */
export function brokenByNodes(found: NodeBalance): readonly string[] {
  const kinds = [
    ["acknowledged and lost", found.lost],
    ["delivered by two nodes at once", found.overlapping],
    ["delivered once more without an excuse", found.unexcused],
  ] as const;
  return kinds
    .filter(([, numbers]) => numbers.length > 0)
    .map(([what, numbers]) => `${numbers.length} ${what}: ${numbers.slice(0, 8).join(", ")}`);
}
