import { release } from "./bodies.ts";
import { mailKey, nameOf, stateKey } from "./keys.ts";
import type { MailHead } from "./mail-object.ts";
import type { CloudPart } from "./part.ts";
import { markerOf, type State } from "./state-object.ts";

/**
 * Ends messages. Removing the mail is the point of no return, then goes the state, then its marker: what a crash leaves
 * between is found by its marker and removed then.
 */
export class Endings {
  readonly #part: CloudPart;

  constructor(part: CloudPart) {
    this.#part = part;
  }

  /** The message is gone when this resolves; without a head it was never there, or is gone already. */
  async end(head: MailHead | undefined, state: State): Promise<void> {
    const { removals, marks, objects } = this.#part;
    if (head !== undefined) await removals.remove(mailKey(state.id));
    marks.ended(markerOf(state), state.version > 0 ? stateKey(nameOf(state)) : undefined);
    const body = head?.body.name;
    if (body !== undefined) await release(objects, body, state.id).catch(() => undefined);
  }

  /** What had no mail of its own is gone when this resolves. */
  async clear(state: State): Promise<void> {
    const { removals, marks } = this.#part;
    await removals.remove(stateKey(nameOf(state)));
    marks.ended(markerOf(state), undefined);
  }
}
