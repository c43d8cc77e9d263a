import {
  DOMAINS_MAX,
  interleave,
  PASSED_OVER_MAX,
  PER_DOMAIN_MAX,
  VISITED_MAX,
} from "../due-look.ts";
import type { Row } from "./row.ts";
import type { StateDb } from "./state-db.ts";

/** What `lease` asks for: rows that wait in `epoch` and are due at `now`, or wait in an older epoch. */
export interface DueQuery {
  readonly epoch: number;
  readonly now: number;
  readonly limit: number;
  readonly skip?: (domain: string) => boolean;
  readonly timelyOnly?: boolean;
}

/**
 * Finds due messages for `lease`. At first in the order of time; where domains to skip fill the front of that order, one
 * domain after another, so that a pile of mail for one destination costs the others nothing however high it is (P9).
 */
export class ScheduleReader {
  readonly #db: () => StateDb;
  /** Where the round through the domains goes on. */
  #domain = "";

  constructor(db: () => StateDb) {
    this.#db = db;
  }

  due(query: DueQuery): readonly Row[] {
    const { limit } = query;
    const front = this.#front(query, limit + PASSED_OVER_MAX);
    const wanted: Row[] = [];
    for (const row of front) {
      if (wanted.length === limit) return wanted;
      if (!query.skip?.(row.domain)) wanted.push(row);
    }
    // A front that was not cut short has everything there is.
    if (wanted.length === limit || front.length < limit + PASSED_OVER_MAX) return wanted;
    return [...wanted, ...this.#roundOfDomains(query, limit - wanted.length, new Set(front))];
  }

  /** What was flushed and what is due by time in turn: a large flush must not make the rest wait. */
  #front({ epoch, now, timelyOnly }: DueQuery, limit: number): readonly Row[] {
    const flushed = timelyOnly ? [] : this.#db().flushed(epoch, limit);
    const timely = this.#db().due(epoch, now, limit);
    if (flushed.length === 0) return timely;
    if (timely.length === 0) return flushed;
    return interleave(flushed, timely).slice(0, limit);
  }

  #roundOfDomains(query: DueQuery, limit: number, front: Iterable<Row>): readonly Row[] {
    const seen = new Set([...front].map(({ id }) => id));
    const found: Row[] = [];
    let left = DOMAINS_MAX;
    const domains = this.#db().domainsAfter(this.#domain, VISITED_MAX);
    for (const domain of domains) {
      if (left === 0 || found.length === limit) return found;
      this.#domain = domain;
      if (query.skip?.(domain)) continue;
      left -= 1;
      const atMost = Math.min(PER_DOMAIN_MAX, limit - found.length);
      found.push(...this.#ofDomain(domain, query, atMost, seen));
    }
    if (domains.length < VISITED_MAX) this.#domain = "";
    return found;
  }

  #ofDomain(
    domain: string,
    { epoch, now, skip = () => false, timelyOnly = false }: DueQuery,
    limit: number,
    seen: ReadonlySet<string>,
  ): readonly Row[] {
    const found: Row[] = [];
    const rows = this.#db().dueOfDomain(domain, { epoch, now, limit, timelyOnly });
    for (const row of rows.filter(({ id }) => !seen.has(id))) {
      // The first of them was asked for by the caller.
      if (found.length > 0 && skip(domain)) break;
      found.push(row);
    }
    return found;
  }
}
