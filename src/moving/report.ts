/** Why a message stays where it is. */
export type LeftReason =
  /** A node is delivering it. */
  | "busy"
  /** Its record cannot be read, or makes no sense. */
  | "damaged"
  /** The target has another message of this id. */
  | "taken"
  /** A move to another place was broken off with it under way. */
  | "elsewhere"
  /** It is of a kind that is not taken. */
  | "skipped";

/** A message that stays where it is, and what is to be known of it. */
export interface Left {
  readonly id: string;
  readonly reason: LeftReason;
  readonly text: string;
}

/** A message that was taken, although not all of what was known of it could be. */
export interface Note {
  readonly id: string;
  readonly text: string;
}

/** What a move has done. */
export interface MoveReport {
  /** They are in the target, and will be delivered from there. */
  readonly moved: number;
  /** Those of them that a run before this one had brought nearly there. */
  readonly resumed: number;
  /** They were there already. */
  readonly known: number;
  /** They ended while the move was under way: delivered, or removed by an operator. */
  readonly gone: number;
  readonly left: number;
  /** The first of them by name. */
  readonly leftNames: readonly Left[];
  /** What is to be known of messages that were taken all the same; the first of them. */
  readonly notes: readonly Note[];
  /** Those that are held at both ends until the same move is run again. */
  readonly halfway: number;
  /** Why it ended before its time. */
  readonly stopped?: string;
}

/** Names of messages that a report keeps; the others are counted. */
const NAMES_MAX = 1000;

/** A report that is being written. */
export class Tally {
  moved = 0;
  resumed = 0;
  known = 0;
  gone = 0;
  halfway = 0;
  #left = 0;
  readonly #names: Left[] = [];
  readonly #notes: Note[] = [];
  #stopped: string | undefined;

  leave(id: string, reason: LeftReason, text: string): void {
    this.#left += 1;
    if (this.#names.length < NAMES_MAX) this.#names.push({ id, reason, text });
  }

  note(id: string, text: string): void {
    if (this.#notes.length < NAMES_MAX) this.#notes.push({ id, text });
  }

  /** Ends the move as soon as nothing is under way; the first reason counts. */
  stop(text: string): void {
    this.#stopped ??= text;
  }

  get isStopped(): boolean {
    return this.#stopped !== undefined;
  }

  /** Messages that were looked at so far. */
  get seen(): number {
    return this.moved + this.known + this.gone + this.#left;
  }

  report(): MoveReport {
    const { moved, resumed, known, gone, halfway } = this;
    const counts = { moved, resumed, known, gone, halfway, left: this.#left };
    const stopped = this.#stopped;
    const names = { leftNames: this.#names, notes: this.#notes };
    return { ...counts, ...names, ...(stopped !== undefined && { stopped }) };
  }
}
