// How far one look for due mail goes, in the engines that keep the schedule in tables.

/** Rows that one look at the whole schedule may pass over because their domain is to be skipped. */
export const PASSED_OVER_MAX = 256;
/** Domains that one look visits one by one when skipped ones fill the front of the schedule: asking skip() is cheap, */
export const VISITED_MAX = 1024;
/** looking for the mail of those that are not to be skipped is less so. */
export const DOMAINS_MAX = 64;
/** Messages that one of them gives to one look. */
export const PER_DOMAIN_MAX = 32;

/** One of each in turn, then what is left of the longer. */
export function interleave<T>(left: readonly T[], right: readonly T[]): readonly T[] {
  const mixed: T[] = [];
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const [first, second] = [left[index], right[index]];
    if (first !== undefined) mixed.push(first);
    if (second !== undefined) mixed.push(second);
  }
  return mixed;
}
