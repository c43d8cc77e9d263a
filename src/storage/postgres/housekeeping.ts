import type { ReservedSQL } from "bun";
import type { Clock } from "../../lib/world.ts";
import { foldTally } from "./listing.ts";
import type { Tables } from "./schema.ts";
import { forgetOutcomes } from "./transaction.ts";

/** How often small things are tidied up. */
const TIDY_MS = 10_000;
/** How often what crashed uploads have left is looked for, in rounds of the other. */
const SWEEP_ROUNDS = 360;

export interface Housekeeping {
  /** Resolves when nothing of it is under way and nothing will be. */
  stop(): Promise<void>;
}

export interface HousekeepingParts {
  readonly clock: Clock;
  readonly tidy: () => Promise<void>;
  readonly sweep: () => Promise<void>;
}

/** Puts the counts together and forgets old outcomes. */
export async function tidy(connection: ReservedSQL, tables: Tables): Promise<void> {
  await foldTally(connection, tables);
  await forgetOutcomes(connection, tables);
}

/** What has to be done now and then by some node. It may fail: there is a next time, and storage tells of its own trouble. */
export function startHousekeeping({ clock, tidy, sweep }: HousekeepingParts): Housekeeping {
  let rounds = 0;
  let cancel = (): void => undefined;
  let working = Promise.resolve();
  let stopped = false;

  async function work(): Promise<void> {
    await tidy().catch(() => undefined);
    if (rounds % SWEEP_ROUNDS === 0) await sweep().catch(() => undefined);
    rounds += 1;
    schedule();
  }

  function schedule(): void {
    if (stopped) return;
    cancel = clock.after(TIDY_MS, () => {
      working = work();
    });
  }

  schedule();
  return {
    async stop() {
      stopped = true;
      cancel();
      await working;
    },
  };
}
