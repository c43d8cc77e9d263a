import { CorruptError, type Lease, type LeaseOptions } from "../storage.ts";
import { DamagedError } from "../store-error.ts";
import type { DueView } from "./due-view.ts";
import type { Endings } from "./endings.ts";
import { inParallel } from "./in-parallel.ts";
import { nameOf, stateKey } from "./keys.ts";
import type { Lookout } from "./lookout.ts";
import type { Lru } from "./lru.ts";
import { type MailHead, withoutPrefix } from "./mail-object.ts";
import { type Marker, markerKey } from "./marker.ts";
import { moveStateAside } from "./move-aside.ts";
import { NotYetError, type Outboxes } from "./outboxes.ts";
import { type CloudPart, changeNow } from "./part.ts";
import type { Known, Reader } from "./reader.ts";
import { isLeased, leasedState, markerOf, type State } from "./state-object.ts";
import type { KnownState, States } from "./states.ts";

/** Looks of one call; the next call goes on where this one stopped. */
const LOOKS_MAX = 16;
/** Things left half done that one call sees to. */
const CHORES_MAX = 64;

export interface LeasingParts {
  readonly part: CloudPart;
  readonly view: DueView;
  readonly lookout: Lookout;
  readonly states: States;
  readonly outboxes: Outboxes;
  readonly endings: Endings;
  readonly reader: Reader;
  readonly seen: Lru<Known>;
}

/**
 * Leases due mail: the view says what to try, and replacing the state decides who gets it. What another node has taken
 * meanwhile is simply not among what one gets.
 */
export class Leasing {
  readonly #parts: LeasingParts;

  constructor(parts: LeasingParts) {
    this.#parts = parts;
  }

  async lease(limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    const { lookout } = this.#parts;
    let hasLooked = await lookout.freshen();
    await this.doChores();
    const leased: Lease[] = [];
    for (let looks = 0; looks < LOOKS_MAX && leased.length < limit; looks += 1) {
      const { leases, isEmpty, trouble } = await this.#leaseKnown(limit - leased.length, options);
      leased.push(...leases);
      if (trouble !== undefined && leased.length === 0) throw trouble;
      // Nobody leaves empty-handed because another node was quicker than the next look.
      const isDone = isEmpty && !lookout.isBehind && (hasLooked || leased.length > 0);
      if (isDone || trouble !== undefined) break;
      if (!isEmpty) continue;
      await lookout.look();
      hasLooked = true;
    }
    return leased;
  }

  /** Finishes what others, or this node, left half done. Never rejects: it is found again. */
  async doChores(): Promise<void> {
    const { view, part, reader } = this.#parts;
    const chores = view.takeChores(part.time.now(), CHORES_MAX);
    await inParallel(chores, async (marker) => {
      await this.#finish(marker).catch(() => undefined);
      reader.forget(marker.id);
    });
  }

  /** Leases of what this node knows; what has failed is tried another time. */
  async #leaseKnown(limit: number, options: LeaseOptions) {
    const { view, part } = this.#parts;
    const { skip, timelyOnly } = options;
    const chosen = view.choose({ now: part.time.now(), limit, skip, timelyOnly });
    let trouble: Error | undefined;
    // Each node in its own order: two that try the same at the same time would each have half of it for nothing.
    const leased = new Map<string, Lease>();
    await inParallel(shuffled(chosen, part.world.random), async (marker) => {
      try {
        const lease = await this.#take(marker, options);
        if (lease !== undefined) leased.set(lease.id, lease);
      } catch (error) {
        if (isSeenTo(error)) return;
        trouble = error instanceof Error ? error : new Error(String(error));
        view.note(marker, part.time.now());
      }
    });
    // Two markers of one message may have been among them.
    const leases = [...new Set(chosen.map(({ id }) => id))].flatMap((id) => leased.get(id) ?? []);
    return { leases, isEmpty: chosen.length === 0, trouble: trouble as Error | undefined };
  }

  async #take(marker: Marker, { holder, until }: LeaseOptions): Promise<Lease | undefined> {
    const { part, states, seen } = this.#parts;
    const known = await this.#read(marker);
    if (known === undefined) return undefined;
    const lease = { holder, until: part.time.toStore(until) };
    const next = leasedState(known.state, lease, changeNow(part));
    const { id, domain, due } = next;
    seen.delete(id);
    const after = await states.replace(known, next);
    if (after === undefined) return undefined;
    seen.set(id, { ...after, head: known.head });
    return { id, domain, due: part.time.fromStore(due) };
  }

  /** The message that a marker is of, free to be taken; `undefined` when the marker is of no use now. */
  async #read(marker: Marker): Promise<Known | undefined> {
    const { states, seen, outboxes, part } = this.#parts;
    const kept = seen.get(marker.id);
    if (kept !== undefined && isMarkerOf(marker, kept.state) && states.isGood(kept)) return kept;
    const at = part.time.now();
    const [found, head] = await Promise.all([this.#stateOf(marker), this.#headOf(marker)]);
    if (head === undefined) return await this.#forgetGone(marker, found);
    if (found !== undefined) {
      return (await this.#agrees(marker, found)) ? { ...found, head } : undefined;
    }
    if (marker.version > 0) {
      await part.marks.dropAbandoned(marker);
      return undefined;
    }
    await outboxes.requireSent(head);
    return { state: head.initial, version: undefined, head, at };
  }

  /** Whether the state is the one that the marker says, and free. */
  async #agrees(marker: Marker, { state }: KnownState): Promise<boolean> {
    const { part, view } = this.#parts;
    const now = part.time.now();
    if (isMarkerOf(marker, state)) return !isLeased(state, now) && !state.held && !state.isEnded;
    if (marker.version > state.version) await part.marks.dropAbandoned(marker);
    else part.marks.drop(marker);
    view.note(markerOf(state), now);
    return false;
  }

  /** A marker whose message is not written yet, or gone. */
  async #forgetGone(marker: Marker, found: KnownState | undefined): Promise<undefined> {
    const { part, endings } = this.#parts;
    // Whoever has put a later marker than the first has seen the message: if it is not there, it has ended.
    if (found !== undefined) await endings.end(undefined, found.state);
    if (found !== undefined && isMarkerOf(marker, found.state)) return undefined;
    if (marker.version > 0) part.marks.drop(marker);
    else if (await part.marks.dropAbandoned(marker)) await this.#restore(marker);
    return undefined;
  }

  /** Whoever sends an outbox after a long time puts the same markers as who has left it. */
  async #restore(marker: Marker): Promise<void> {
    const isThere = (await this.#headOf(marker)) !== undefined;
    if (isThere) await this.#parts.part.marks.put(marker);
  }

  /** The state that a marker is of. One that is damaged leaves the queue, with its message (P6). */
  async #stateOf(marker: Marker): Promise<KnownState | undefined> {
    const { states, reader, part } = this.#parts;
    const name = nameOf(marker);
    try {
      return await states.read(name);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      const isThere = (await this.#headOf(marker)) !== undefined;
      if (isThere) await reader.moveAside(marker.id, error.message);
      await moveStateAside(part, name, error.message);
      part.marks.drop(marker);
      throw new CorruptError(`message ${marker.id} is damaged: ${error.message}`, { cause: error });
    }
  }

  /** The head of the very message that a marker is of. */
  async #headOf({ id, born }: Marker): Promise<MailHead | undefined> {
    const head = await this.#parts.reader.head(id);
    return head?.initial.born === born ? withoutPrefix(head) : undefined;
  }

  async #finish(marker: Marker): Promise<void> {
    const { outboxes, part, view } = this.#parts;
    const found = await this.#stateOf(marker);
    if (found === undefined) return await this.#dropFinished(marker);
    const { state } = found;
    if (!state.isEnded && state.outbox === undefined) {
      await this.#agrees(marker, found);
    } else if (state.outbox === undefined && state.at > part.time.now()) {
      // Whoever has ended it is about to clear it away.
      view.note(markerOf(state), part.time.now());
    } else {
      await outboxes.send(found);
      if (isMarkerOf(marker, state)) return;
      if (state.isEnded) part.marks.ended(marker, stateKey(nameOf(state)));
      else part.marks.drop(marker);
    }
  }

  /** Without a state there is nothing to finish: it is done, or was never begun. */
  async #dropFinished(marker: Marker): Promise<void> {
    const { part } = this.#parts;
    const isDone = marker.version > 1 && (await this.#headOf(marker)) === undefined;
    if (isDone) part.marks.drop(marker);
    else await part.marks.dropAbandoned(marker);
  }

  /** Looks whether a marker that never comes due still says something true. */
  async judge(marker: Marker): Promise<void> {
    await this.#read(marker).catch((error: unknown) => {
      if (!isSeenTo(error)) throw error;
    });
  }

  /** Puts the marker of a message again: without one nobody finds it. It does no harm where it is there. */
  async remark(id: string): Promise<void> {
    const { reader, part } = this.#parts;
    try {
      const head = await reader.head(id);
      if (head === undefined) return;
      const found = await this.#stateOf(markerOf(head.initial));
      await part.marks.put(markerOf(found?.state ?? head.initial));
    } catch (error) {
      if (!isSeenTo(error)) throw error;
    }
  }
}

/** What is wrong with one message only, and is seen to already, or by whoever looks at its outbox. */
function isSeenTo(error: unknown): boolean {
  return [CorruptError, NotYetError, DamagedError].some((kind) => error instanceof kind);
}

function shuffled<T>(items: readonly T[], random: () => number): readonly T[] {
  const keyed = items.map((item) => ({ item, key: random() }));
  return keyed.sort((left, right) => left.key - right.key).map(({ item }) => item);
}

function isMarkerOf(marker: Marker, state: State): boolean {
  return markerKey(marker) === markerKey(markerOf(state));
}
