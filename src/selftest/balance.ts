import type { LedgerClient } from "./ledger-client.ts";
import type { LedgerReceiver, Take } from "./ledger-receiver.ts";

const BUSY_MS = 280;
const SYNCS_WAITED_FOR = 2;

/** A moment at which a daemon forgot what it had not made durable. */
export interface Crash {
  /** When it was killed: nothing was settled after this. */
  readonly from: number;
  /** When it was seen to be gone: nothing was asked for after this. */
  readonly to: number;
  /** A delivery may be repeated that was answered less than so long before. */
  readonly windowMs: number;
}

/**
 * How long after an answer a crash may still undo it: the settlement's own window, what a busy machine needs to read the
 * answer, and the syncs that a batch of settlements waits for: one under way, and that of its directory or file.
 */
export function excusedMs(settleWindowMs: number, slowestSyncMs: number): number {
  return Math.ceil(settleWindowMs + BUSY_MS + SYNCS_WAITED_FOR * slowestSyncMs);
}

/** One delivery, or one bounce, too many. */
export interface Repeat {
  readonly number: number;
  /** When it was answered. */
  readonly at: number;
  /** From the answer to the crash after it; infinite without one, 0 when there was no answer that could be read. */
  readonly beforeCrashMs: number;
  readonly excused: boolean;
}

/** The clients' ledger held against those of the next hops. */
export interface Balance {
  readonly acknowledged: number;
  /** Of those. */
  readonly delivered: number;
  /** Of those, reported to the sender and not delivered. */
  readonly bounced: number;
  /** P1, P5: acknowledged, and neither delivered nor bounced. */
  readonly lost: readonly number[];
  /** P5: everything that came more than once, excused or not. */
  readonly repeats: readonly Repeat[];
  /** P4, P5: bounced although nobody had rejected it. */
  readonly wronglyBounced: readonly number[];
  /** Acknowledged content that arrived changed, bounces that do not tell what they must. */
  readonly damaged: readonly string[];
}

/** A promise that was broken, in words for an operator. */
export interface Broken {
  readonly promise: string;
  readonly text: string;
}

type Books = Pick<LedgerReceiver, "taken" | "bounced" | "rejected" | "damaged">;

/**
 * Every acknowledged recipient must have come to one end (P5). A second one is excused only when a crash, or a connection
 * that broke before the answer could be read, came so soon after the first that it could not be settled. Pure.
 */
export function balance(
  client: Pick<LedgerClient, "acknowledged">,
  receivers: readonly Books[],
  crashes: readonly Crash[],
): Balance {
  const taken = merged(receivers.map((receiver) => receiver.taken));
  const bounced = merged(receivers.map((receiver) => receiver.bounced));
  const isRejected = (number: number) => receivers.some(({ rejected }) => rejected.has(number));
  const acknowledged = [...client.acknowledged.keys()];
  const missing = acknowledged.filter((number) => !taken.has(number));
  const lost = missing.filter((number) => !bounced.has(number));
  return {
    acknowledged: acknowledged.length,
    delivered: acknowledged.length - missing.length,
    bounced: missing.length - lost.length,
    lost,
    repeats: [
      ...[...taken].flatMap(([number, takes]) => {
        return repeatsOf(number, takes, bounced.get(number) ?? [], crashes);
      }),
      ...[...bounced].flatMap(([number, takes]) => repeatsOf(number, takes, [], crashes)),
    ],
    wronglyBounced: [...bounced.keys()].filter((number) => !isRejected(number)),
    damaged: receivers.flatMap(({ damaged }) => damaged),
  };
}

/** Whether the ledger is closed: nothing is under way any more that it waits for. */
export function isSettled(client: Pick<LedgerClient, "acknowledged">, receivers: readonly Books[]) {
  return [...client.acknowledged.keys()].every((number) => {
    return receivers.some(({ taken, bounced }) => taken.has(number) || bounced.has(number));
  });
}

/** What does not balance; empty when every promise was kept. */
export function brokenPromises(found: Balance): readonly Broken[] {
  const unexcused = found.repeats.filter(({ excused }) => !excused);
  const kinds: readonly (readonly [string, string, readonly unknown[]])[] = [
    ["P1, P5", "acknowledged and lost", found.lost],
    [
      "P5",
      "repeated outside the window",
      unexcused.map(({ number, beforeCrashMs }) => `${number} (${beforeCrashMs} ms)`),
    ],
    ["P4", "bounced though nobody rejected it", found.wronglyBounced],
    ["P1", "arrived changed", found.damaged],
  ];
  return kinds
    .filter(([, , which]) => which.length > 0)
    .map(([promise, what, which]) => {
      const some = which.slice(0, 5).join(", ");
      return { promise, text: `${which.length} ${what}: ${some}${which.length > 5 ? " ..." : ""}` };
    });
}

/** All but the last end of a number need an excuse; what was bounced is settled for good, so a delivery after it has none. */
function repeatsOf(
  number: number,
  takes: readonly Take[],
  bounces: readonly Take[],
  crashes: readonly Crash[],
): readonly Repeat[] {
  const settledAt = Math.min(Number.POSITIVE_INFINITY, ...bounces.map(({ at }) => at));
  const sorted = takes.toSorted((a, b) => a.at - b.at);
  const early = bounces.length > 0 ? sorted : sorted.slice(0, -1);
  return early.map((take) => {
    const crash = crashAfter(take, crashes);
    const beforeCrashMs = crash === undefined ? Number.POSITIVE_INFINITY : crash.from - take.at;
    const inWindow = crash !== undefined && beforeCrashMs < crash.windowMs;
    return {
      number,
      at: take.at,
      beforeCrashMs: take.answered ? Math.max(0, beforeCrashMs) : 0,
      excused: take.at < settledAt && (!take.answered || inWindow),
    };
  });
}

/** The first crash that the sender did not survive after it had been told to go ahead. */
function crashAfter({ since }: Take, crashes: readonly Crash[]): Crash | undefined {
  return crashes.filter(({ to }) => to >= since).toSorted((a, b) => a.to - b.to)[0];
}

function merged(
  ledgers: readonly ReadonlyMap<number, readonly Take[]>[],
): ReadonlyMap<number, readonly Take[]> {
  const all = new Map<number, readonly Take[]>();
  for (const ledger of ledgers) {
    for (const [number, takes] of ledger) all.set(number, [...(all.get(number) ?? []), ...takes]);
  }
  return all;
}
