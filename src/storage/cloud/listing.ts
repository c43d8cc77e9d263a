import { summaryOf } from "../message-row.ts";
import type { ListQuery, MessageState, MessageSummary } from "../storage.ts";
import { inParallel } from "./in-parallel.ts";
import { DUE, MAIL, mailKey } from "./keys.ts";
import { Lru } from "./lru.ts";
import { dueFrom, HELD_AT, type Marker, parseMarker } from "./marker.ts";
import type { CloudPart } from "./part.ts";
import { factsOf, type Reader } from "./reader.ts";
import { rowOf } from "./state-object.ts";

/** Messages that are read at a time where most may be of no use. */
const PAGE = 200;
/** Ids that `load` remembers, so as not to say one twice that has two markers at the moment. */
const LOADED_MAX = 10_000;

export interface ListingParts {
  readonly part: CloudPart;
  readonly reader: Reader;
}

/** As `QueueStorage.list`: with a state or a domain, what to read is found in the schedule first. */
export async function list(parts: ListingParts, query: ListQuery): Promise<MessageSummary[]> {
  const found: MessageSummary[] = [];
  const isNarrowed = query.state !== undefined || query.domain !== undefined;
  let after = query.after ?? "";
  while (found.length < query.limit) {
    const count = query.sender === undefined ? query.limit - found.length : PAGE;
    const ids = isNarrowed
      ? await scheduledIds(parts.part, { ...query, after, limit: count })
      : await storedIds(parts.part, after, count);
    const shown = await inParallel(ids, (id) => summary(parts, id));
    found.push(...shown.filter((each) => each !== undefined).filter((each) => agrees(each, query)));
    if (ids.length < count) break;
    after = ids.at(-1) ?? "";
  }
  return found.slice(0, query.limit);
}

/**
 * As `QueueStorage.load`: what the schedule says, without a read of any message. One that is changed meanwhile may be named
 * twice or not at all, and one that was just ended may still be named.
 */
export async function* load({ objects, removals, time }: CloudPart) {
  const named = new Lru<true>(LOADED_MAX);
  await removals.idle();
  for await (const page of objects.pages(DUE)) {
    for (const { key } of page.objects) {
      const marker = parseMarker(key);
      if (marker === undefined || marker.phase === "ended" || named.get(marker.id)) continue;
      named.set(marker.id, true);
      yield { timestamp: time.fromStore(marker.due), id: marker.id };
    }
  }
}

async function storedIds({ objects }: CloudPart, after: string, count: number) {
  const ids: string[] = [];
  while (ids.length < count) {
    const last = ids.at(-1) ?? after;
    const limit = Math.min(1000, count - ids.length);
    const page = await objects.list(MAIL, last === "" ? "" : mailKey(last), limit);
    ids.push(...page.objects.map(({ key }) => key.slice(MAIL.length)));
    if (!page.isMore) break;
  }
  return ids;
}

/** The first ids of those whose markers are as asked for: the whole schedule is listed for it, and little of it kept. */
async function scheduledIds({ objects, time }: CloudPart, query: ListQuery): Promise<string[]> {
  const { after = "", limit, state } = query;
  const now = time.now();
  let ids = new Set<string>();
  const first = (): string[] => [...ids].sort().slice(0, limit);
  for await (const page of objects.pages(DUE, state === "hold" ? dueFrom(HELD_AT) : "")) {
    for (const { key } of page.objects) {
      const marker = parseMarker(key);
      if (marker !== undefined && marker.id > after && mayAgree(marker, query, now)) {
        ids.add(marker.id);
      }
    }
    if (ids.size > 2 * limit) ids = new Set(first());
  }
  return first();
}

function mayAgree(marker: Marker, { state, domain }: Partial<ListQuery>, now: number): boolean {
  if (marker.phase === "ended") return false;
  if (domain !== undefined && !domain.toLowerCase().startsWith(marker.domain)) return false;
  return state === undefined || marker.phase === "sending" || stateOfMarker(marker, now) === state;
}

/** The state of the message that a marker is of, if it is the one in force. */
export function stateOfMarker({ phase, at, isTried }: Marker, now: number): MessageState {
  if (phase === "held") return "hold";
  if (phase === "leased" && at > now) return "active";
  return isTried ? "deferred" : "incoming";
}

async function summary({ part, reader }: ListingParts, id: string) {
  const shown = await reader.shown(id);
  if (shown === undefined) return undefined;
  const row = rowOf(factsOf(shown.head), shown.state, part.time.now());
  return summaryOf({ ...row, due: part.time.fromStore(row.due) });
}

function agrees(row: MessageSummary, { state, domain, sender }: ListQuery): boolean {
  return (
    (state === undefined || row.state === state) &&
    (domain === undefined || row.domain === domain.toLowerCase()) &&
    (sender === undefined || row.sender.toLowerCase() === sender.toLowerCase())
  );
}
