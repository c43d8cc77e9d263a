import { QueueError } from "../../mail/queue-error.ts";
import { nameOf, stateKey } from "./keys.ts";
import type { CloudPart } from "./part.ts";
import { decodeState, encodeState, markerOf, type State } from "./state-object.ts";

/** A state, and the version of its object; none while the message is as it was stored. */
export interface KnownState {
  readonly state: State;
  readonly version: string | undefined;
}

/** Reads states and replaces them, each only by whoever knows it. */
export class States {
  readonly #part: CloudPart;

  constructor(part: CloudPart) {
    this.#part = part;
  }

  /** `undefined`: there is none. Throws `DamagedError`. */
  async read(name: string): Promise<KnownState | undefined> {
    const object = await this.#part.objects.get(stateKey(name));
    if (object === undefined) return undefined;
    return { state: decodeState(object.bytes), version: object.version };
  }

  /**
   * Puts `next` in the place of what is known, in one step. `undefined`: it is not the state any more. Rejects when nobody
   * knows whether it was done.
   */
  async replace(known: KnownState, next: State): Promise<KnownState | undefined> {
    const { marks } = this.#part;
    const version = await marks.before(markerOf(next), () => this.#write(known, next));
    if (version === undefined) return undefined;
    marks.changed(markerOf(known.state), markerOf(next));
    return { state: next, version };
  }

  /** Writes the state of what has none and no mail. Rejects when nobody knows whether it was done. */
  async create(state: State): Promise<KnownState> {
    const { marks } = this.#part;
    const write = () => this.#write({ state, version: undefined }, state);
    const version = await marks.before(markerOf(state), write);
    if (version === undefined) throw new QueueError("somebody else has the same name for it");
    marks.changed(undefined, markerOf(state));
    return { state, version };
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
    // It may still be done: then its marker is needed.
    if (trouble !== undefined && isAsBefore) throw trouble;
    marks.drop(markerOf(next));
    return undefined;
  }
}
