const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TIME_CHARACTERS = 9;
const TAIL_CHARACTERS = 7;
const TAIL_VALUES = 32 ** TAIL_CHARACTERS;

/** What a message id looks like: base32 without I, L, O and U, so that it is safe in file names, greps and on the phone. */
export const ID_PATTERN = /^[0-9A-HJKMNP-TV-Z]{16}$/u;

/** Every two digits: ids are made for each message, and half the steps make half the strings. */
const PAIRS = Array.from(
  { length: 1024 },
  (_, value) => DIGITS.charAt(value >> 5) + DIGITS.charAt(value & 31),
);

/** Writes a whole number in base32, big end first. */
export function base32(value: number, characters: number): string {
  let text = "";
  let rest = Math.floor(value);
  let left = characters;
  for (; left > 1; left -= 2) {
    text = PAIRS[rest % 1024] + text;
    rest = Math.floor(rest / 1024);
  }
  return left === 1 ? DIGITS.charAt(rest % 32) + text : text;
}

/**
 * Makes ids that sort by time: milliseconds, then a tail that starts at random in each millisecond and counts up.
 * Within one maker every id is greater than the one before, even when the clock steps back.
 */
export function idMaker(now: () => number, random: () => number): () => string {
  let lastMs = -1;
  let prefix = "";
  let tail = 0;
  return () => {
    const ms = now();
    if (ms > lastMs) {
      lastMs = ms;
      prefix = base32(ms, TIME_CHARACTERS);
      // The upper half stays free to count in.
      tail = Math.floor((random() * TAIL_VALUES) / 2);
    } else {
      tail += 1;
      if (tail === TAIL_VALUES) {
        lastMs += 1;
        prefix = base32(lastMs, TIME_CHARACTERS);
        tail = 0;
      }
    }
    return prefix + base32(tail, TAIL_CHARACTERS);
  };
}

/**
 * An id that follows from what it is about: the time part of `parent` and a digest of `parts`. The same parts give the
 * same id, so that writing it again is a no-op.
 */
export function derivedId(parent: string, parts: readonly string[]): string {
  const digest = new Bun.CryptoHasher("sha256").update(parts.join("\0")).digest();
  const value = digest.readUIntBE(0, 5) % TAIL_VALUES;
  return parent.slice(0, TIME_CHARACTERS) + base32(value, TAIL_CHARACTERS);
}
