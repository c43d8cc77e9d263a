import { EPOCH_HELD, EPOCH_LEASED, type MessageRow, settledRow } from "../message-row.ts";
import { isRecordId } from "../record.ts";
import type { Settlement, Tenure } from "../storage.ts";
import { DamagedError } from "../store-error.ts";
import { decodeFrame, encodeFrame } from "./frame.ts";
import { HELD_AT, type Marker, type Phase } from "./marker.ts";

/** What changes of a message. All instants are the store's. */
export interface State {
  readonly id: string;
  readonly born: string;
  /** Counts the states of a message; 0 is the one that it was stored with. */
  readonly version: number;
  /** Who wrote this version: no two writes have the same. */
  readonly token: string;
  /** When its marker wants attention. */
  readonly at: number;
  readonly due: number;
  readonly epoch: number;
  readonly held: boolean;
  readonly lease: Tenure | null;
  readonly attempts: number;
  readonly domain: string;
  /** As `MessageRow.state`. */
  readonly progress: string | null;
  /** Octets of content. */
  readonly size: number;
  readonly outbox?: Outbox;
  /** Nobody is pending any more: what is left to do is to send off the outbox, and to remove the message. */
  readonly isEnded?: true;
}

/**
 * Messages that are stored with this state, in one step, as they are to stand under `mail/`. None of them is touched by
 * anybody before all of them are there and the state is another one.
 */
export interface Outbox {
  /** No two outboxes have the same. */
  readonly name: string;
  /** Until then it is for whoever wrote this state to write them; then it is for who finds it. */
  readonly until: number;
  readonly mails: readonly Uint8Array[];
}

/** What of a message never changes and its state needs. */
export type Facts = Pick<MessageRow, "receivedAt" | "sender" | "recipientCount">;

export function rowOf(facts: Facts, state: State, now: number): MessageRow {
  const { id, due, domain, size, attempts, progress } = state;
  const { receivedAt, sender, recipientCount } = facts;
  const waiting = isLeased(state, now) ? EPOCH_LEASED : state.epoch;
  const epoch = state.held ? EPOCH_HELD : waiting;
  return {
    ...{ id, epoch, due, domain, size, attempts, receivedAt, sender, recipientCount },
    state: progress,
  };
}

export function isLeased({ lease }: State, now: number): boolean {
  return lease !== null && now < lease.until;
}

/** A lease that is over counts for nothing, even when nobody has taken the message since. */
export function isHeldBy({ lease }: State, holder: string, now: number): boolean {
  return lease !== null && lease.holder === holder && now < lease.until;
}

export interface Change {
  /** The store's instant. */
  readonly now: number;
  readonly token: string;
  /** In which what waits from now on waits. */
  readonly epoch: number;
}

export function leasedState(state: State, lease: Tenure, change: Change): State {
  // What a flush made due is due for good: its old time must not come back when the lease ends.
  return next({ ...state, lease, due: Math.min(state.due, change.now) }, change);
}

export function releasedState(state: State, change: Change): State {
  const epoch = state.held ? state.epoch : change.epoch;
  return next({ ...state, lease: null, epoch }, change);
}

export function renewedState(state: State, lease: Tenure, change: Change): State {
  return next({ ...state, lease }, change);
}

export function heldState(state: State, held: boolean, change: Change): State {
  if (held) return next({ ...state, held }, change);
  return next({ ...state, held, due: Math.round(change.now), epoch: change.epoch }, change);
}

/** After a settlement, in which `due` is the store's, with what is stored together with it. */
export function settledState(
  facts: Facts,
  before: State,
  settlement: Settlement,
  {
    endsLease,
    outbox,
    ...change
  }: Change & { readonly endsLease: boolean; readonly outbox?: Outbox },
): State {
  const row = settledRow(rowOf(facts, before, change.now), settlement, change.epoch);
  const state = outbox === undefined ? before : { ...before, outbox };
  if (row === null) return next({ ...state, lease: null, isEnded: true }, change);
  const held = row.epoch === EPOCH_HELD;
  const { due, attempts, domain, state: progress } = row;
  const lease = endsLease || !isLeased(state, change.now) ? null : state.lease;
  const epoch = held || row.epoch === EPOCH_LEASED ? state.epoch : row.epoch;
  return next({ ...state, due, attempts, domain, progress, held, lease, epoch }, change);
}

/** The same with this outbox, or none. */
export function withOutbox(
  { outbox: _, ...state }: State,
  outbox: Outbox | undefined,
  change: Change,
): State {
  return next({ ...state, ...(outbox && { outbox }) }, change);
}

/** When others see to what is left of a message, if whoever ended it does not. */
const ENDED_MS = 120_000;

/** One version on. */
function next(state: State, { now, token }: Change): State {
  const changed = { ...state, version: state.version + 1, token };
  return { ...changed, at: attentionAt(changed, now) };
}

/** When somebody should look at it again; the past is nobody's to look at, so that lists need not begin there. */
export function attentionAt(state: Omit<State, "at">, now: number): number {
  const { outbox, held, lease, due } = state;
  if (outbox !== undefined) return Math.ceil(Math.max(outbox.until, now));
  if (state.isEnded) return Math.ceil(now + ENDED_MS);
  if (held) return HELD_AT;
  return Math.ceil(Math.max(lease?.until ?? due, now));
}

export function markerOf(state: State): Marker {
  const { at, id, born, version, token, epoch, due, size, domain } = state;
  const isTried = state.attempts > 0;
  const phase = phaseOf(state);
  return { at, id, born, version, token, epoch, phase, isTried, due, size, domain };
}

function phaseOf({ isEnded, outbox, held, lease }: State): Phase {
  if (isEnded) return "ended";
  if (outbox !== undefined) return "sending";
  if (held) return "held";
  return lease === null ? "waiting" : "leased";
}

const FORMAT = "SQS1";

export function encodeState({ outbox, ...facts }: State): Uint8Array {
  if (outbox === undefined) return encodeFrame(FORMAT, facts, new Uint8Array(0));
  const { name, until, mails } = outbox;
  const lengths = mails.map(({ length }) => length);
  return encodeFrame(FORMAT, { ...facts, outbox: { name, until, lengths } }, Buffer.concat(mails));
}

interface StateFacts extends Omit<State, "outbox"> {
  readonly outbox?: Omit<Outbox, "mails"> & { readonly lengths: readonly number[] };
}

/** Throws `DamagedError`. */
export function decodeState(bytes: Uint8Array): State {
  const { facts, payload } = decodeFrame(FORMAT, bytes);
  const { outbox, ...state } = facts as StateFacts;
  if (!isState(state)) throw new DamagedError("its state is not made as its version says");
  if (outbox === undefined) return state;
  let at = 0;
  const mails = outbox.lengths.map((length) => {
    at += length;
    return payload.subarray(at - length, at);
  });
  return { ...state, outbox: { name: outbox.name, until: outbox.until, mails } };
}

/** Whether what was read is a state that this version can work with. */
export function isState(value: unknown): value is State {
  const state = (value ?? {}) as Partial<State>;
  const { version, at, due, epoch, attempts, size, lease, progress } = state;
  const numbers = [version, at, due, epoch, attempts, size, lease?.until ?? 0];
  return (
    isRecordId(state.id) &&
    numbers.every((number) => Number.isFinite(number)) &&
    [state.born, state.token, state.domain].every((text) => typeof text === "string") &&
    typeof state.held === "boolean" &&
    (progress === null || typeof progress === "string") &&
    (lease === null || typeof lease?.holder === "string")
  );
}
