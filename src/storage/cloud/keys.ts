/**
 * What stands under the prefix of a queue:
 *
 *     mail/ID             immutable: envelope, header prefix, first state, and the body unless it was streamed. Writing it
 *                         is what accepts a message, removing it is what ends it
 *     state/ID.BORN       what becomes of it, replaced by compare-and-swap; absent until something does
 *     due/...             empty: the schedule, see `marker.ts`
 *     body/BODY           a streamed or shared body, and ref/BODY/ID for each message that has it
 *     corrupt/ID...       what was moved aside (P6)
 *     control/epoch       which flush was the last
 *
 * BORN is new with each message that is stored under an id: whatever is left of an earlier one belongs to nobody.
 */
export const MAIL = "mail/";
export const DUE = "due/";
export const BODY = "body/";
export const CORRUPT = "corrupt/";
export const EPOCH_KEY = "control/epoch";

export function mailKey(id: string): string {
  return `${MAIL}${id}`;
}

/** `name` is ID.BORN. */
export function stateKey(name: string): string {
  return `state/${name}`;
}

export function nameOf({ id, born }: { readonly id: string; readonly born: string }): string {
  return `${id}.${born}`;
}

export function bodyKey(body: string): string {
  return `${BODY}${body}`;
}

export function refsOf(body: string): string {
  return `ref/${body}/`;
}

export function refKey(body: string, id: string): string {
  return `${refsOf(body)}${id}`;
}

export function corruptKey(id: string, part: string): string {
  return `${CORRUPT}${id}.${part}`;
}

export function probeKey(node: string): string {
  return `control/probe-${node}`;
}
