import { QueueError } from "../../mail/queue-error.ts";
import { LostLeaseError, type Settlement, type SettleOptions } from "../storage.ts";
import type { Endings } from "./endings.ts";
import { nameOf } from "./keys.ts";
import { Lru } from "./lru.ts";
import type { Outboxes } from "./outboxes.ts";
import { type CloudPart, changeNow } from "./part.ts";
import { factsOf, type Known, type Reader } from "./reader.ts";
import { type Change, isHeldBy, type State, settledState } from "./state-object.ts";
import type { States } from "./states.ts";
import type { Entry, PackedAll, Writer } from "./writer.ts";

/** A message that others change all the time is tried this often; each failure means that somebody else succeeded. */
const TRIES_MAX = 100;
/** A lease that has this long to run runs out for nobody meanwhile: requests take less, and clocks differ by less. */
const SURE_MS = 30_000;
/** Settlements of which nobody knows whether they were made. */
const UNCLEAR_MAX = 10_000;

export interface SettlerParts {
  readonly part: CloudPart;
  readonly states: States;
  readonly outboxes: Outboxes;
  readonly endings: Endings;
  readonly reader: Reader;
  readonly writer: Writer;
  readonly seen: Lru<Known>;
}

/** A message as it was and as it is; the same when nothing was changed. */
export interface Changed {
  readonly before: Known;
  readonly after: Known;
}

/** The state that follows; `undefined`: nothing is to be changed. */
export type Make = (known: Known, change: Change) => State | undefined;

/** Changes states: whatever is worked out from one is only written while it is still that one. */
export class Settler {
  readonly #parts: SettlerParts;
  /** By id: the token of a state that may have been written, and what for. */
  readonly #unclear = new Lru<{ readonly token: string; readonly work: string }>(UNCLEAR_MAX);

  constructor(parts: SettlerParts) {
    this.#parts = parts;
  }

  /** As `QueueStorage.settle`. */
  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    const { holder, bounces = [] } = options;
    const { part, writer } = this.#parts;
    const { due } = settlement;
    const atStore = due === undefined ? settlement : { ...settlement, due: part.time.toStore(due) };
    if (bounces.length === 0 && (await this.#endsSurely(id, atStore, holder))) return;
    const now = part.world.clock.now();
    const entries = bounces.map((bounce): Entry => ({ ...bounce, due: now }));
    const packed = await writer.pack(entries);
    const make: Make = (known, change) => this.#next(known, atStore, holder, packed, change);
    try {
      await this.change(id, make, JSON.stringify([settlement, holder, bounces.map(idOf)]));
    } finally {
      await packed.discard();
    }
  }

  /** As `QueueStorage.incrementAttempts`. */
  async count(id: string): Promise<number> {
    const { after } = await this.change(id, ({ head, state }, change) => {
      const settlement = { attempts: state.attempts + 1 };
      return settledState(factsOf(head), state, settlement, { ...change, endsLease: false });
    });
    return after.state.attempts;
  }

  /**
   * Changes a message, as often as others are quicker. Resolves with how it was and is. Of two calls with the same `work`, the
   * first of which failed and was done all the same, the second does nothing.
   */
  async change(id: string, make: Make, work?: string): Promise<Changed> {
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const done = await this.#try(id, make, work);
      if (done !== undefined) return done;
    }
    throw new QueueError(`message ${id} changes faster than it can be settled`);
  }

  /** `undefined`: what it was worked out from is not so any more, or is to be read again. */
  async #try(id: string, make: Make, work: string | undefined): Promise<Changed | undefined> {
    const { part, reader, seen, states } = this.#parts;
    const kept = seen.get(id);
    const old = kept && states.isGood(kept) ? kept : undefined;
    seen.delete(id);
    const before = old ?? (await reader.current(id));
    if (this.#isDone(before.state, work)) return { before, after: before };
    const next = refusable(() => make(before, changeNow(part)));
    if (isChange(next)) {
      const after = await this.#replace(before, next, work);
      return after && { before, after };
    }
    // What this node has seen may be old: then it cannot be written, but who refuses has to know.
    if (old !== undefined) return undefined;
    if (next !== undefined) throw next;
    return { before, after: before };
  }

  #isDone({ id, token }: State, work: string | undefined): boolean {
    const unclear = this.#unclear.get(id);
    return work !== undefined && unclear?.work === work && unclear.token === token;
  }

  async #replace(before: Known, next: State, work: string | undefined): Promise<Known | undefined> {
    const { states, reader, seen, outboxes } = this.#parts;
    const { id } = next;
    if (work !== undefined) this.#unclear.set(id, { token: next.token, work });
    const written = await states.replace(before, next);
    this.#unclear.delete(id);
    if (written === undefined) return undefined;
    const after = { ...written, head: before.head };
    if (next.outbox === undefined && !next.isEnded) {
      seen.set(id, after);
      return after;
    }
    reader.forget(id);
    // It is settled; what is left to do may have to wait.
    await outboxes.sendOwn(written, before.head);
    return after;
  }

  #next(
    { head, state }: Known,
    settlement: Settlement,
    holder: string | undefined,
    { mails, taken }: PackedAll,
    change: Change,
  ): State {
    const endsLease = holder !== undefined;
    if (endsLease && !isHeldBy(state, holder, change.now)) throw lost(state.id, holder);
    // From here on nobody knows whether they were stored: then the housekeeping sees to their bodies.
    taken();
    const outbox =
      mails.length === 0
        ? undefined
        : this.#parts.outboxes.open(nameOf(state), (origin) =>
            this.#parts.writer.encode(mails, origin),
          );
    return settledState(factsOf(head), state, settlement, {
      ...change,
      endsLease,
      ...(outbox && { outbox }),
    });
  }

  /**
   * What becomes of nearly every message: who has it leased is done with all of its recipients. Nobody else can have taken it,
   * now or before the removal is done, so that there is nothing to compare: a third of the requests of its life.
   * An operator's change that this node does not know of yet counts as made before, and is ended with it.
   */
  async #endsSurely(id: string, settlement: Settlement, holder: string | undefined) {
    const { part, seen, reader, endings } = this.#parts;
    const known = seen.get(id);
    if (known === undefined || holder === undefined) return false;
    const { head, state } = known;
    if (!isHeldBy(state, holder, part.time.now() + SURE_MS)) return false;
    const change = { ...changeNow(part), endsLease: true };
    if (!settledState(factsOf(head), state, settlement, change).isEnded) return false;
    await endings.end(head, state);
    reader.forget(id);
    return true;
  }
}

function idOf({ id }: { readonly id: string }): string {
  return id;
}

function isChange(next: State | LostLeaseError | undefined): next is State {
  return next !== undefined && !(next instanceof LostLeaseError);
}

function refusable<T>(make: () => T): T | LostLeaseError {
  try {
    return make();
  } catch (error) {
    if (error instanceof LostLeaseError) return error;
    throw error;
  }
}

function lost(id: string, holder: string): LostLeaseError {
  return new LostLeaseError(`message ${id} is not leased to ${holder}`);
}
