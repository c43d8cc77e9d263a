import { startChild } from "../support/child.ts";
import { HOME_DOMAIN, LOAD_DOMAIN } from "./hops.ts";

/** Postfix's smtp-source, started again and again: each run has a recipient of its own and is counted. */
export interface Load {
  /** Runs in which every message was acknowledged. */
  readonly completed: readonly number[];
  /** Resolves when nothing is sent any more. */
  readonly ended: Promise<void>;
}

/** Messages of one run. */
export const RUN_MESSAGES = 20;
const BYTES = 3000;
const BETWEEN_MS = 200;

/** Sends until told to stop. smtp-source gives up at the first refusal or broken connection: such a run counts for nothing. */
export function startLoad(port: () => number | undefined, until: AbortSignal): Load {
  const completed: number[] = [];
  const sendOn = async (): Promise<void> => {
    for (let run = 1; !until.aborted; run += 1) {
      const at = port();
      if (at !== undefined && (await sendRun(at, run)) === 0) completed.push(run);
      await Bun.sleep(BETWEEN_MS);
    }
  };
  return { completed, ended: sendOn() };
}

async function sendRun(port: number, run: number): Promise<number> {
  await using child = startChild([
    ...["/usr/sbin/smtp-source", "-d", "-s", "2", "-m", `${RUN_MESSAGES}`, "-l", `${BYTES}`],
    ...["-f", `load@${HOME_DOMAIN}`, "-t", `${run}@${LOAD_DOMAIN}`, `127.0.0.1:${port}`],
  ]);
  return await child.exited;
}
