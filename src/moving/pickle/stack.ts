import { type Pickled, PickledObject, PickleError } from "./values.ts";

/** Values that are under construction at once, and values that are remembered. */
const STACK_MAX = 200_000;
const MEMO_MAX = 200_000;

/** The stack that a pickle is a program for, with its memory. */
export class Stack {
  #values: Pickled[] = [];
  /** What was on the stack when a mark was set. */
  readonly #below: Pickled[][] = [];
  readonly #memo = new Map<number, Pickled>();
  #depth = 0;

  push(value: Pickled): void {
    this.#grow();
    this.#values.push(value);
  }

  pop(): Pickled {
    const value = this.#values.pop();
    if (value === undefined) throw new PickleError("it takes what is not there");
    this.#depth -= 1;
    return value;
  }

  top(): Pickled {
    const value = this.#values.at(-1);
    if (value === undefined) throw new PickleError("it takes what is not there");
    return value;
  }

  mark(): void {
    this.#grow();
    this.#below.push(this.#values);
    this.#values = [];
  }

  /** Everything since the last mark, which is gone. */
  popMark(): Pickled[] {
    const values = this.#values;
    const below = this.#below.pop();
    if (below === undefined) throw new PickleError("it goes back to a mark that is not there");
    this.#values = below;
    this.#depth -= values.length + 1;
    return values;
  }

  /** Takes off one value, or the last mark when there is nothing above it. */
  drop(): void {
    if (this.#values.length > 0) this.pop();
    else this.popMark();
  }

  remember(place: number, value: Pickled = this.top()): void {
    if (place < 0 || this.#memo.size >= MEMO_MAX) throw new PickleError("it remembers too much");
    this.#memo.set(place, value);
  }

  memoize(): void {
    this.remember(this.#memo.size);
  }

  recall(place: number): void {
    const value = this.#memo.get(place);
    if (value === undefined) throw new PickleError("it recalls what it never had");
    this.push(value);
  }

  list(): Pickled[] {
    const value = this.top();
    if (Array.isArray(value)) return value;
    throw new PickleError("it adds to what is no list");
  }

  set(): Set<Pickled> {
    const value = this.top();
    if (value instanceof Set) return value;
    throw new PickleError("it adds to what is no set");
  }

  /** The entries of a dictionary, which an `OrderedDict` that was called keeps as its state. */
  map(): Map<Pickled, Pickled> {
    const value = this.top();
    if (value instanceof Map) return value;
    if (!(value instanceof PickledObject))
      throw new PickleError("it adds to what is no dictionary");
    if (!(value.state instanceof Map)) value.state = new Map();
    return value.state;
  }

  /** What is left when the pickle ends. */
  result(): Pickled {
    if (this.#below.length > 0 || this.#values.length !== 1) {
      throw new PickleError("it ends in the middle of something");
    }
    return this.pop();
  }

  #grow(): void {
    this.#depth += 1;
    if (this.#depth > STACK_MAX) throw new PickleError("it is nested too deeply");
  }
}
