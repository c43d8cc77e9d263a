/** Longer words are compared by their beginning. */
const WORD_LENGTH_MAX = 80;

/** The candidate that `word` was most likely meant to be, or `undefined` when none is near enough. */
export function suggest(word: string, candidates: Iterable<string>): string | undefined {
  const short = word.slice(0, WORD_LENGTH_MAX).toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - short.length) >= bestDistance) continue;
    const distance = editDistance(short, candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** `; did you mean "x"?`, or nothing. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const meant = suggest(word, candidates);
  return meant === undefined ? "" : `; did you mean ${JSON.stringify(meant)}?`;
}

/** Levenshtein's distance, in which two neighbours that changed places count once. */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number) => rows[row]?.[column] ?? 0;
  for (let row = 1; row <= from.length; row += 1) {
    rows.push([row]);
    for (let column = 1; column <= to.length; column += 1) {
      const same = from[row - 1] === to[column - 1];
      const replace = at(row - 1, column - 1) + (same ? 0 : 1);
      const shift = Math.min(at(row - 1, column), at(row, column - 1)) + 1;
      const swapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      const swap = swapped ? at(row - 2, column - 2) + 1 : replace;
      rows[row]?.push(Math.min(replace, shift, swap));
    }
  }
  return at(from.length, to.length);
}
