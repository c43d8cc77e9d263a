/** A number in [0, 1) that follows from what it is about, so that leaving something out changes nothing else. */
export function rollFor(seed: number, ...about: readonly (string | number)[]): number {
  return Bun.hash.xxHash32(about.join("\0"), seed) / 2 ** 32;
}
