import type { ReservedSQL } from "bun";
import {
  DOMAINS_MAX,
  interleave,
  PASSED_OVER_MAX,
  PER_DOMAIN_MAX,
  VISITED_MAX,
} from "../due-look.ts";
import type { MessageRow } from "../message-row.ts";
import type { LeaseOptions } from "../storage.ts";
import type { Connections } from "./connections.ts";
import type { Row } from "./rows.ts";
import { scheduleStatements } from "./schedule-statements.ts";
import type { Tables } from "./schema.ts";
import type { StoreTime } from "./store-time.ts";

/** Looks that one call makes when other nodes were quicker to take what it had found. */
const LOOKS_MAX = 3;

export interface ScheduleParts {
  readonly tables: Tables;
  readonly time: StoreTime;
  readonly connections: Connections;
}

/** A message that may be taken. */
type Candidate = Pick<Row, "id" | "domain">;

interface Found {
  readonly rows: readonly Candidate[];
  /** There is nothing else to be had. */
  readonly isAll: boolean;
}

/**
 * Finds due messages and takes them: at first in the order of time; where domains to skip fill the front of that order, one
 * domain after another, so that a pile of mail for one destination costs the others nothing however high it is (P9).
 * What is found is not locked but taken if nobody else was quicker: no two nodes ever wait for each other here.
 */
export class Schedule {
  readonly #connections: Connections;
  readonly #time: StoreTime;
  readonly #statements: ReturnType<typeof scheduleStatements>;
  /** Where the round through the domains goes on. */
  #domain = "";

  constructor({ tables, time, connections }: ScheduleParts) {
    this.#connections = connections;
    this.#time = time;
    this.#statements = scheduleStatements(tables, time);
  }

  async lease(now: number, limit: number, options: LeaseOptions): Promise<readonly MessageRow[]> {
    return await this.#connections.run(async (connection) => {
      await connection.unsafe(this.#statements.expire, [this.#time.now()]);
      const leased: Row[] = [];
      for (let looks = 0; looks < LOOKS_MAX && leased.length < limit; looks += 1) {
        const found = await this.#find(connection, now, limit - leased.length, options);
        const taken = await this.#take(connection, found.rows, now, options);
        leased.push(...taken);
        if (found.isAll || taken.length === found.rows.length) break;
      }
      return leased;
    });
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    if (ids.length === 0) return;
    await this.#connections.run((connection) =>
      connection.unsafe(this.#statements.renew, [
        connection.array([...ids], "TEXT"),
        holder,
        this.#time.left(until),
        this.#time.now(),
      ]),
    );
  }

  /** Resolves with the messages that are no longer leased. */
  async release(ids: readonly string[], holder: string): Promise<readonly MessageRow[]> {
    if (ids.length === 0) return [];
    return await this.#connections.run((connection) =>
      connection.unsafe(this.#statements.release, [
        connection.array([...ids], "TEXT"),
        holder,
        this.#time.now(),
      ]),
    );
  }

  async nextDue(): Promise<number | null> {
    return await this.#connections.run(async (connection) => {
      const [, [row]] = await Promise.all([
        connection.unsafe(this.#statements.expire, [this.#time.now()]),
        connection.unsafe(this.#statements.nextDue),
      ]);
      return row.due;
    });
  }

  async #find(
    connection: ReservedSQL,
    now: number,
    limit: number,
    options: LeaseOptions,
  ): Promise<Found> {
    const seen = new Set<string>();
    const wanted: Candidate[] = [];
    // Mostly nothing is to be skipped, and what is wanted is all that has to be read.
    for (const most of [limit, limit + PASSED_OVER_MAX]) {
      const front = await this.#front(connection, now, most, options);
      wanted.push(...unskipped(front, seen, limit - wanted.length, options));
      if (wanted.length === limit) return { rows: wanted, isAll: false };
      // A front that was not cut short has everything there is.
      if (front.length < most) return { rows: wanted, isAll: true };
    }
    const more = await this.#roundOfDomains(connection, now, limit - wanted.length, options);
    return { rows: [...wanted, ...more.filter(({ id }) => !seen.has(id))], isAll: false };
  }

  /** What was flushed and what is due by time in turn: a large flush must not make the rest wait. */
  async #front(
    connection: ReservedSQL,
    now: number,
    limit: number,
    { timelyOnly = false }: LeaseOptions,
  ): Promise<readonly Candidate[]> {
    const values = [now, limit, timelyOnly ? 0 : limit];
    const found: readonly (Candidate & { readonly flushed: boolean })[] = await connection.unsafe(
      this.#statements.front,
      values,
    );
    const flushed = found.filter((row) => row.flushed);
    const timely = found.filter((row) => !row.flushed);
    return interleave(flushed, timely).slice(0, limit);
  }

  async #roundOfDomains(
    connection: ReservedSQL,
    now: number,
    limit: number,
    { skip = () => false, timelyOnly = false }: LeaseOptions,
  ): Promise<readonly Candidate[]> {
    const wanted = await this.#domains(connection, skip, Math.min(DOMAINS_MAX, limit));
    if (wanted.length === 0) return [];
    const rows: readonly Candidate[] = await connection.unsafe(this.#statements.ofDomains, [
      now,
      connection.array([...wanted], "TEXT"),
      Math.min(PER_DOMAIN_MAX, limit),
      timelyOnly,
    ]);
    return chosen(rows, skip, limit);
  }

  /** The next domains that are not to be skipped. */
  async #domains(
    connection: ReservedSQL,
    skip: (domain: string) => boolean,
    limit: number,
  ): Promise<readonly string[]> {
    const visited: readonly { readonly domain: string }[] = await connection.unsafe(
      this.#statements.domains,
      [this.#domain, VISITED_MAX],
    );
    const wanted: string[] = [];
    for (const { domain } of visited) {
      if (wanted.length === limit) return wanted;
      this.#domain = domain;
      if (!skip(domain)) wanted.push(domain);
    }
    if (visited.length < VISITED_MAX) this.#domain = "";
    return wanted;
  }

  async #take(
    connection: ReservedSQL,
    found: readonly Candidate[],
    now: number,
    { holder, until }: LeaseOptions,
  ): Promise<readonly Row[]> {
    if (found.length === 0) return [];
    const ids = found.map(({ id }) => id);
    const taken: readonly Row[] = await connection.unsafe(this.#statements.take, [
      connection.array(ids, "TEXT"),
      now,
      holder,
      this.#time.left(until),
      this.#time.now(),
    ]);
    const byId = new Map(taken.map((row) => [row.id, row]));
    return ids.flatMap((id) => byId.get(id) ?? []);
  }
}

/** Asks for each that was not seen yet. */
function unskipped(
  rows: readonly Candidate[],
  seen: Set<string>,
  limit: number,
  { skip = () => false }: LeaseOptions,
): readonly Candidate[] {
  const wanted: Candidate[] = [];
  for (const row of rows) {
    if (wanted.length === limit) break;
    if (!(seen.has(row.id) || skip(row.domain))) wanted.push(row);
    seen.add(row.id);
  }
  return wanted;
}

/** Asks for each once; the first of each domain was asked for by the caller. */
function chosen(
  rows: readonly Candidate[],
  skip: (domain: string) => boolean,
  limit: number,
): readonly Candidate[] {
  const wanted: Candidate[] = [];
  const over = new Map<string, boolean>();
  for (const row of rows) {
    if (wanted.length === limit) break;
    const state = over.get(row.domain);
    const isOver = state === true || (state === false && skip(row.domain));
    over.set(row.domain, isOver);
    if (!isOver) wanted.push(row);
  }
  return wanted;
}
