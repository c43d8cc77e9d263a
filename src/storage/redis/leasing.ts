import type { Lease, LeaseOptions } from "../storage.ts";
import type { QueuePart } from "./part.ts";

/** Domains that one look visits, in each half of the schedule. */
const DOMAINS_PER_LOOK = 64;
/** Messages that one look sees at most: the server does nothing else meanwhile. */
const ROWS_PER_LOOK = 1000;
const ROWS_PER_LOOK_MIN = 64;
/** Looks of one call; the next call goes on where this one stopped. */
const LOOKS_MAX = 32;

interface Seen extends Lease {
  readonly isFlushed: boolean;
}

/** A place in the schedule: in what a flush made due, and in what is due by time. */
interface Cursors {
  readonly flushed: string;
  readonly timely: string;
}

interface Look extends Cursors {
  readonly rows: readonly Seen[];
  /** Some domain has more than it was asked for. */
  readonly isCut: boolean;
}

const START: Cursors = { flushed: "", timely: "" };

/**
 * Leases due mail, domain after domain, so that a pile for one destination costs the others nothing (P9). Looking and
 * leasing are two steps, since only the caller knows whom to skip; what another node has leased between them is simply
 * not among what one gets.
 */
export class Leasing {
  readonly #part: QueuePart;
  /** Where the round through the domains goes on, when the last call could not visit all. */
  #resumeAt: Cursors | undefined;

  constructor(part: QueuePart) {
    this.#part = part;
  }

  /** `now` is the server's instant. */
  async lease(now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    const leased: Lease[] = [];
    const skipped = new Set<string>();
    let [at, resumeAt] = [START, this.#resumeAt];
    this.#resumeAt = undefined;
    let isMoreLeft = false;
    for (let looks = 0; looks < LOOKS_MAX; looks += 1) {
      const left = limit - leased.length;
      const look = await this.#look(now, left, at, options.timelyOnly ?? false);
      const chosen = choose(look.rows, left, options.skip, skipped);
      const taken = await this.#take(now, chosen, options);
      leased.push(...taken);
      isMoreLeft ||= taken.length < chosen.length || (look.isCut && taken.length > 0);
      const isEnd = isAtEnd(look);
      if (leased.length >= limit || (isEnd && !isMoreLeft)) return leased;
      isMoreLeft &&= !isEnd;
      at = isEnd ? START : (resumeAt ?? look);
      resumeAt = undefined;
    }
    this.#resumeAt = at;
    return leased;
  }

  async #look(now: number, left: number, at: Cursors, timelyOnly: boolean): Promise<Look> {
    const { connection, base, time } = this.#part;
    const rowsMax = Math.min(ROWS_PER_LOOK, Math.max(ROWS_PER_LOOK_MIN, left));
    const args = [now, at.flushed, at.timely, DOMAINS_PER_LOOK, rowsMax, timelyOnly ? 1 : 0];
    const [flushed = "", timely = "", cut, ...fields] = (await connection.run(
      "peek",
      base,
      args,
    )) as string[];
    const rows: Seen[] = [];
    for (let index = 0; index < fields.length; index += 4) {
      const [domain = "", id = "", due, mark] = fields.slice(index, index + 4);
      rows.push({ id, domain, due: time.fromServer(Number(due)), isFlushed: mark === "1" });
    }
    return { flushed, timely, rows, isCut: cut === "1" };
  }

  async #take(
    now: number,
    chosen: readonly Lease[],
    { holder, until }: LeaseOptions,
  ): Promise<readonly Lease[]> {
    if (chosen.length === 0) return [];
    const { connection, base, time } = this.#part;
    const ids = chosen.map(({ id }) => id);
    const args = [now, holder, time.toServer(until), ...ids];
    const fields = (await connection.run("take", base, args)) as string[];
    const taken: Lease[] = [];
    for (let index = 0; index < fields.length; index += 3) {
      const [id = "", domain = "", due] = fields.slice(index, index + 3);
      taken.push({ id, domain, due: time.fromServer(Number(due)) });
    }
    return taken;
  }
}

/** Earliest first, what was flushed and what is due by time in turn: a large flush must not make the rest wait. */
function choose(
  rows: readonly Seen[],
  limit: number,
  skip: LeaseOptions["skip"],
  skipped: Set<string>,
): readonly Seen[] {
  const chosen: Seen[] = [];
  for (const row of inTurn(rows)) {
    if (chosen.length === limit) break;
    if (skipped.has(row.domain)) continue;
    if (skip?.(row.domain)) skipped.add(row.domain);
    else chosen.push(row);
  }
  return chosen;
}

function* inTurn(rows: readonly Seen[]): Generator<Seen> {
  const byDue = rows.toSorted((left, right) => left.due - right.due);
  const flushed = byDue.filter(({ isFlushed }) => isFlushed);
  const timely = byDue.filter(({ isFlushed }) => !isFlushed);
  for (let index = 0; index < Math.max(flushed.length, timely.length); index += 1) {
    const [first, second] = [flushed[index], timely[index]];
    if (first !== undefined) yield first;
    if (second !== undefined) yield second;
  }
}

function isAtEnd({ flushed, timely }: Cursors): boolean {
  return flushed === "end" && timely === "end";
}
