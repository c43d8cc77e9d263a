/** What is to be known of one message at some instant. */
export interface Facts {
  /** Whose text it is: messages that were made out of one transaction share it. */
  readonly text: string;
  /** Octets of the text. */
  readonly size: number;
  readonly attempts: number;
  /** Indexes of the recipients that are done. */
  readonly done: readonly number[];
  readonly held: boolean;
  /** `null`: any, since a flush and a lease changed it, which promise nothing about a power cut. */
  readonly due: number | null;
}

/** What a workload says of itself: what it asks the store for, what it was told, what it saw after a start. */
export type Mark =
  | { readonly ask: number; readonly what: string; readonly changes: Changes }
  | { readonly ack: number }
  | { readonly saw: Readonly<Record<string, Facts>> };

/** What becomes of each message that one request is about: `null` is its end. */
export type Changes = Readonly<Record<string, Facts | null>>;

interface Request {
  readonly number: number;
  readonly what: string;
  readonly changes: Changes;
  acknowledged: boolean;
}

/**
 * What clients asked for and were told: from it follows what a store may hold after a crash. Each request is atomic: all
 * of its messages have changed or none (P2, P3, P4). Whatever was acknowledged must have happened (P1, P3), whatever
 * was not may have, in the order in which it was asked for.
 */
export class History {
  #requests: Request[];

  constructor(requests: readonly Request[] = []) {
    this.#requests = [...requests];
  }

  copy(): History {
    return new History(this.#requests.map((request) => ({ ...request })));
  }

  /** Whether a request of this kind was made and acknowledged. */
  isAcknowledged(what: string): boolean {
    return this.#requests.some((request) => request.what === what && request.acknowledged);
  }

  take(mark: Mark): void {
    if ("ask" in mark) {
      const { ask: number, what, changes } = mark;
      this.#requests.push({ number, what, changes, acknowledged: false });
    } else if ("ack" in mark) {
      for (const request of this.#requests) {
        if (request.number === mark.ack) request.acknowledged = true;
      }
    } else this.#forgetUndone(new Map(Object.entries(mark.saw)));
  }

  /** What is wrong with a store that holds these messages and a damaged one; empty when it keeps all promises. */
  problems(stored: ReadonlyMap<string, Facts>, damaged?: string): readonly string[] {
    const known = new Set(this.#requests.flatMap(({ changes }) => Object.keys(changes)));
    if (damaged !== undefined) known.delete(damaged);
    const strange = [...stored.keys()].filter((id) => !known.has(id));
    const found = strange.map((id) => `P1: ${id} is stored, which nobody asked for`);
    const wrong = [...known].filter((id) => this.#possible(id, stored).length === 0);
    found.push(...wrong.map((id) => this.#complaint(id, stored.get(id))));
    if (found.length > 0) return found;
    return this.#requests
      .filter((request) => this.#isHalf(request, stored))
      .map(({ what, number, changes }) => {
        const ids = Object.keys(changes).join(", ");
        return `P2/P3/P4: only half of request ${number} (${what}) has happened, to ${ids}`;
      });
  }

  /** A start has shown what became of the requests that were under way; what was not done will not be done. */
  #forgetUndone(stored: ReadonlyMap<string, Facts>): void {
    this.#requests = this.#requests.filter(
      (request) =>
        request.acknowledged ||
        Object.keys(request.changes).every((id) => this.#reaches(id, request, stored, true)),
    );
  }

  /** The requests that may be the last one that this message has seen. */
  #possible(id: string, stored: ReadonlyMap<string, Facts>): readonly (Request | undefined)[] {
    const about = this.#requests.filter(({ changes }) => id in changes);
    const told = about.findLastIndex(({ acknowledged }) => acknowledged);
    const states = told < 0 ? [undefined, ...about] : about.slice(told);
    return states.filter((state) => isLike(state?.changes[id] ?? null, stored.get(id)));
  }

  /** Whether this message may be at or behind the request, or before it. */
  #reaches(
    id: string,
    request: Request,
    stored: ReadonlyMap<string, Facts>,
    done: boolean,
  ): boolean {
    const place = this.#requests.indexOf(request);
    return this.#possible(id, stored).some(
      (state) => (state !== undefined && this.#requests.indexOf(state) >= place) === done,
    );
  }

  #isHalf(request: Request, stored: ReadonlyMap<string, Facts>): boolean {
    const ids = Object.keys(request.changes);
    if (request.acknowledged || ids.length < 2) return false;
    return ![true, false].some((done) =>
      ids.every((id) => this.#reaches(id, request, stored, done)),
    );
  }

  #complaint(id: string, found: Facts | undefined): string {
    const about = this.#requests.filter(({ changes }) => id in changes);
    const told = about.findLast(({ acknowledged }) => acknowledged);
    const expected = told?.changes[id] ?? null;
    const promise = promiseOf(about[0] === told, expected, found);
    const said = told ? `request ${told.number} (${told.what}) was acknowledged` : "nothing was";
    return `${promise}: ${id} is ${show(found)}; ${said}: ${show(expected)}`;
  }
}

function promiseOf(isFirst: boolean, expected: Facts | null, found: Facts | undefined): string {
  if (expected === null) return "P5";
  return isFirst || found === undefined ? "P1" : "P3";
}

function show(facts: Facts | null | undefined): string {
  return facts ? JSON.stringify(facts) : "gone";
}

function isLike(expected: Facts | null, found: Facts | undefined): boolean {
  if (expected === null || found === undefined) return expected === null && found === undefined;
  return Bun.deepEquals({ ...expected, due: expected.due ?? found.due }, found);
}
