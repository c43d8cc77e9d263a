import type { Command, History } from "./history.ts";

/** Says whether a history still goes wrong. */
export type IsWrong = (history: History) => Promise<boolean>;

/**
 * Looks for a shorter history that still goes wrong: leaves out ever smaller pieces (delta debugging), then makes what is
 * left simpler, until nothing helps or `tries` runs are used up.
 */
export async function shrink(history: History, isWrong: IsWrong, tries: number): Promise<History> {
  let left = tries;
  const attempt = async (commands: readonly Command[]): Promise<boolean> => {
    left -= 1;
    return left >= 0 && (await isWrong({ ...history, commands }));
  };
  let best = history.commands;
  for (let before = -1; before !== best.length && left > 0; ) {
    before = best.length;
    best = await withoutPieces(best, attempt, () => left > 0);
    best = await simpler(best, attempt, () => left > 0);
  }
  return { ...history, commands: best };
}

type Attempt = (commands: readonly Command[]) => Promise<boolean>;

async function withoutPieces(
  commands: readonly Command[],
  attempt: Attempt,
  mayTry: () => boolean,
): Promise<readonly Command[]> {
  let best = commands;
  for (
    let size = Math.ceil(best.length / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let at = best.length; at > 0 && mayTry(); at -= size) {
      const from = Math.max(0, at - size);
      const rest = [...best.slice(0, from), ...best.slice(at)];
      if (await attempt(rest)) best = rest;
    }
  }
  return best;
}

async function simpler(
  commands: readonly Command[],
  attempt: Attempt,
  mayTry: () => boolean,
): Promise<readonly Command[]> {
  let best = commands;
  for (let at = 0; at < best.length; at += 1) {
    for (const other of simplerOnes(best[at]!)) {
      if (!mayTry()) return best;
      const next = best.with(at, other);
      if (await attempt(next)) best = next;
    }
  }
  return best;
}

function simplerOnes(command: Command): readonly Command[] {
  switch (command.do) {
    case "advance":
      return [1000, 60_000, 3_600_000]
        .filter((ms) => ms < command.ms)
        .map((ms) => ({ ...command, ms }));
    case "send": {
      const plain = {
        ...command,
        notify: "none",
        size: 0,
        streamed: 0,
        keyed: 0,
        hops: 0,
      } as const;
      const [first = ""] = command.to;
      return [
        ...(command.to.length > 1
          ? [
              { ...plain, to: [first] },
              { ...command, to: [first] },
            ]
          : []),
        plain,
      ];
    }
    case "fault":
      return command.times > 1 ? [{ ...command, times: 1 }] : [];
    case "crash":
      return command.downMs > 1 ? [{ ...command, downMs: 1 }] : [];
    default:
      return [];
  }
}
