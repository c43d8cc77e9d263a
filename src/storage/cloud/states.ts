import { QueueError } from "../../mail/queue-error.ts";
import { nameOf, stateKey } from "./keys.ts";
import type { CloudPart } from "./part.ts";
import { decodeState, encodeState, markerOf, type State } from "./state-object.ts";

/** A state, and the version of its object; none while the message is as it was stored. */
export interface KnownState {
  readonly state: State;
  readonly version: string | undefined;
  /** The store's instant at which that was so. */
  readonly at: number;
}

/**
 * So long it counts that there was no state: "still none" could also mean that the message has ended meanwhile, with all of
 * its states. Those stay for longer than this and a request.
 */
const NONE_MS = 20_000;

/** Reads states and replaces them, each only by whoever knows it. */
export class States {
  readonly #part: CloudPart;

  constructor(part: CloudPart) {
    this.#part = part;
  }

  /** `undefined`: there is none. Throws `DamagedError`. */
  async read(name: string): Promise<KnownState | undefined> {
    const at = this.#part.time.now();
    const object = await this.#part.objects.get(stateKey(name));
    if (object === undefined) return undefined;
    return { state: decodeState(object.bytes), version: object.version, at };
  }

  /** Whether what is known can be replaced; if not, it is to be read again. */
  isGood({ version, at }: KnownState): boolean {
    const age = this.#part.time.now() - at;
    return version !== undefined || (age >= 0 && age < NONE_MS);
  }

  /**
   * Puts `next` in the place of what is known, in one step. `undefined`: it is not the state any more. Rejects when nobody
   * knows whether it was done.
   */
  async replace(known: KnownState, next: State): Promise<KnownState | undefined> {
    const { marks, time } = this.#part;
    const at = time.now();
    const version = await marks.before(markerOf(next), async () => {
      if (this.isGood(known)) return await this.#write(known, next);
      marks.drop(markerOf(next));
      return undefined;
    });
    if (version === undefined) return undefined;
    marks.changed(markerOf(known.state), markerOf(next));
    return { state: next, version, at };
  }

  /** The same for a message that has ended: the marker before shows the way to what is left of it. */
  async overwrite(known: KnownState, next: State): Promise<KnownState | undefined> {
    const at = this.#part.time.now();
    const version = await this.#write(known, next);
    return version === undefined ? undefined : { state: next, version, at };
  }

  /** Writes the state of what has none and no mail. Rejects when nobody knows whether it was done. */
  async create(state: State): Promise<KnownState> {
    const { marks, time } = this.#part;
    const at = time.now();
    const write = () => this.#write({ state, version: undefined, at }, state);
    const version = await marks.before(markerOf(state), write);
    if (version === undefined) throw new QueueError("somebody else has the same name for it");
    marks.changed(undefined, markerOf(state));
    return { state, version, at };
  }

  /** The version that is stored now; `undefined` when another is. */
  async #write(known: KnownState, next: State): Promise<string | undefined> {
    const { objects, marks } = this.#part;
    const condition = known.version === undefined ? "absent" : { version: known.version };
    let trouble: unknown;
    try {
      const version = await objects.put(stateKey(nameOf(next)), encodeState(next), condition);
      if (version !== undefined) return version;
    } catch (error) {
      trouble = error;
    }
    // A store may answer with an error where the condition does not hold, or where the write was done.
    const found = await this.read(nameOf(next));
    if (found?.state.token === next.token) return found.version;
    const isAsBefore = found?.version === known.version;
    if (trouble !== undefined && isAsBefore) throw trouble;
    // While it is as before it may still be done, whatever was answered: then its marker is needed.
    if (!isAsBefore) marks.drop(markerOf(next));
    return undefined;
  }
}
