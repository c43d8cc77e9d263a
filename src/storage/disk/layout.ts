import { base32 } from "../../lib/id.ts";

/** The names in a spool directory. */
export interface Layout {
  readonly root: string;
  readonly scratch: string;
  readonly content: string;
  readonly corrupt: string;
  readonly database: string;
  readonly lock: string;
  /** There while queue.db is made anew: it names the file that what is left of the old one is saved from. */
  readonly rebuild: string;
  readonly reserve: string;
  /** The directory that a segment is in. */
  shard(segment: number): string;
  segment(number: number): string;
}

/** A directory that holds more files than this gets slow, and a start would have to read all their names. */
export const SEGMENTS_PER_SHARD = 4096;

const NUMBER_CHARACTERS = 10;
/** A thousand segments a second take a thousand years to get here; numbers behind a stray file's must still fit a name. */
const SEGMENT_MAX = 2 ** 45;
const SHARD_CHARACTERS = 8;
const SEGMENT_NAME = /^([0-9A-HJKMNP-TV-Z]{10})\.seg$/u;
const SHARD_NAME = /^[0-9A-HJKMNP-TV-Z]{8}$/u;
const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

export function layoutOf(root: string): Layout {
  const content = `${root}/content`;
  const shard = (segment: number): string =>
    `${content}/${base32(Math.floor(segment / SEGMENTS_PER_SHARD), SHARD_CHARACTERS)}`;
  return {
    root,
    scratch: `${root}/scratch`,
    content,
    corrupt: `${root}/corrupt`,
    database: `${root}/queue.db`,
    lock: `${root}/lock`,
    rebuild: `${root}/rebuild`,
    reserve: `${root}/reserve`,
    shard,
    segment: (number) => `${shard(number)}/${base32(number, NUMBER_CHARACTERS)}.seg`,
  };
}

/** The number in a segment's file name; `undefined` for any other name, and for a number that nobody ever counts to. */
export function segmentNumber(name: string): number | undefined {
  const digits = SEGMENT_NAME.exec(name)?.[1];
  const number = digits === undefined ? undefined : parseBase32(digits);
  return number !== undefined && number <= SEGMENT_MAX ? number : undefined;
}

/** The same for a name in a shard, in which only some numbers belong. */
export function segmentIn(shard: string, name: string): number | undefined {
  const [start, number] = [shardStart(shard), segmentNumber(name)];
  if (start === undefined || number === undefined) return undefined;
  return number >= start && number < start + SEGMENTS_PER_SHARD ? number : undefined;
}

/** The first segment number of a shard, by its directory name; `undefined` for any other name. */
export function shardStart(name: string): number | undefined {
  return SHARD_NAME.test(name) ? parseBase32(name) * SEGMENTS_PER_SHARD : undefined;
}

function parseBase32(text: string): number {
  let value = 0;
  for (const digit of text) value = value * 32 + DIGITS.indexOf(digit);
  return value;
}
