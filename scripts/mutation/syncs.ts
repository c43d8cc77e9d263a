import type { Mutation } from "./mutation.ts";

/** Calls that make bytes or names durable: the engine's own, and the system's behind them. */
const SYNC =
  /(?<![\w.#]|function |async )[\w.#]*\b(?:syncData|syncDirectory|f(?:data)?sync(?:Sync)?)\(/gu;
/** `syncData(fd: number)`: that is where it is declared. */
const DECLARATION = /\(\w+: /u;
/** What a callback gets instead of the sync it waited for. */
const CALLBACK = /^fs\.f(?:data)?sync\(\w+, (\w+)\)$/u;

/** What notices a sync that is missing. */
export interface SyncDetectors {
  readonly usual: readonly string[];
  /** Files whose syncs are not on the path of mail, and what tests those. */
  readonly byFile: Readonly<Record<string, readonly string[]>>;
}

/** One mutation for each call of a sync in a file: that call is left out. Found in the code, so that none is forgotten. */
export function withoutSyncs(
  file: string,
  text: string,
  detectors: SyncDetectors,
): readonly Mutation[] {
  const found = [...text.matchAll(SYNC)].map((match) => ({
    at: match.index,
    call: text.slice(match.index, endOfCall(text, match.index + match[0].length)),
  }));
  const calls = found.filter(({ call }) => !DECLARATION.test(call));
  return calls.map(({ at, call }) => {
    const line = lineAround(text, at);
    const number = text.slice(0, at).split("\n").length;
    const edit = { file, from: line, to: line.replace(call, () => replacement(call)) };
    return {
      name: `no sync: ${file}:${number} ${call}`,
      promise: "P1",
      edits: [edit],
      tests: detectors.byFile[file] ?? detectors.usual,
    };
  });
}

function replacement(call: string): string {
  const [, done] = CALLBACK.exec(call) ?? [];
  if (done !== undefined) return `${done}(null)`;
  return call.includes("Sync(") ? "undefined" : "Promise.resolve()";
}

/** Index behind the parenthesis that closes the call whose arguments begin at `from`. */
function endOfCall(text: string, from: number): number {
  let depth = 1;
  let at = from;
  for (; depth > 0 && at < text.length; at += 1) {
    if (text[at] === "(") depth += 1;
    if (text[at] === ")") depth -= 1;
  }
  return at;
}

/** The call's line with the ones around it, so that it is found once. */
function lineAround(text: string, at: number): string {
  const start = text.lastIndexOf("\n", text.lastIndexOf("\n", at) - 1) + 1;
  const next = text.indexOf("\n", text.indexOf("\n", at) + 1);
  return text.slice(start, next < 0 ? text.length : next);
}
