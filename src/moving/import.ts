import { Permits } from "../lib/permits.ts";
import type { Clock } from "../lib/world.ts";
import { eachAtOnce } from "./at-once.ts";
import { type Imported, type ImportItem, type ImportSource, NotImported } from "./imported.ts";
import { type Landing, openLanding } from "./landing.ts";
import { type MoveReport, Tally } from "./report.ts";
import type { Store } from "./transfer.ts";

export interface ImportParts {
  readonly from: ImportSource;
  readonly to: Store;
  /** Removes from the source what is stored here. */
  readonly remove: boolean;
  /** Reads everything and stores nothing. */
  readonly dryRun: boolean;
  readonly clock: Clock;
  /** A name that no other run has. */
  readonly holder: string;
  /** Aborted: no new message is begun. */
  readonly signal: AbortSignal;
  /** Called now and then with how many messages were looked at. */
  readonly onProgress: (seen: number) => void;
  /** Messages on their way at once. */
  readonly atOnce?: number;
}

const AT_ONCE = 16;
/** Larger messages are in memory one at a time (P8). */
const LARGE = 1024 * 1024;

/**
 * Takes over the queue of another program, which must not be running. As with a transfer a message lands held, is removed
 * from the source when that is asked for, and then is freed: however the process ends, running it again goes on.
 *
 * Ids follow from the source's. So without `remove` a second import leaves alone what is still here; what was delivered
 * meanwhile it would take once more, for which reason a queue is imported with `remove`, or put away afterwards. With
 * `remove` no message comes twice, whenever and however often it is run.
 */
export async function importMail(parts: ImportParts): Promise<MoveReport> {
  const tally = new Tally();
  const { from, to, signal, atOnce = AT_ONCE } = parts;
  const landing = openLanding({ ...parts, target: to.storage, from: from.name, to: to.name });
  const each: Each = { ...parts, landing, tally };
  const isOver = (): boolean => tally.isStopped || signal.aborted;
  const large = new Permits(1);
  const onEach = async (item: ImportItem): Promise<void> => {
    const work = async (): Promise<void> => {
      if (isOver()) return;
      await take(item, each).catch((error: unknown) => tell(item, error, tally));
    };
    const isLarge = (await sizeOf(item)) > LARGE;
    await (isLarge ? large.run(work) : work());
    parts.onProgress(tally.seen);
  };
  try {
    if (!parts.dryRun) await requireAlone(each);
    await eachAtOnce(from.items(), atOnce, onEach, isOver);
    if (!(parts.dryRun || isOver())) await finishRest(each);
  } catch (error) {
    tally.stop(reasonOf(error));
  }
  if (signal.aborted) tally.stop("interrupted");
  return tally.report();
}

interface Each extends ImportParts {
  readonly landing: Landing;
  readonly tally: Tally;
}

/** A message whose size cannot be told is read to see what is wrong. */
async function sizeOf(item: ImportItem): Promise<number> {
  return (await item.size?.().catch(() => 0)) ?? 0;
}

/** What was left by a run before this one is nobody's any more, or that run is alive and this one ends. */
async function requireAlone({ landing, signal }: Each): Promise<void> {
  for await (const message of landing.unfinished()) await landing.untilNobodys(message, signal);
}

async function take(item: ImportItem, each: Each): Promise<void> {
  const { landing, tally, dryRun } = each;
  const imported = await item.read();
  if (imported === undefined) {
    if (each.remove && !dryRun) await item.remove();
    tally.gone += 1;
    return;
  }
  if (imported.note !== undefined) tally.note(item.name, imported.note);
  if (dryRun) {
    tally.moved += 1;
    return;
  }
  const { id, held } = imported.freight;
  const there = await landing.find(id);
  if (there !== undefined && !landing.isUnfinished(there)) {
    if (each.remove) await item.remove();
    tally.known += 1;
    return;
  }
  if (there === undefined) await land(imported, each);
  if (each.remove) await item.remove();
  await landing.finish(id, held);
  tally.moved += 1;
  tally.resumed += Number(there !== undefined);
}

/** What the target would not have is not there when this rejects, or held. */
async function land({ freight }: Imported, { landing, to }: Each): Promise<void> {
  const refusal = to.storage.refusal();
  if (refusal !== undefined) throw new Error(`${to.name}: ${refusal}`);
  try {
    await landing.land(freight);
  } catch (cause) {
    // What is wrong with its content is told by reading it.
    if (cause instanceof NotImported) throw cause;
    throw new Error(`${to.name}: ${reasonOf(cause)}`, { cause });
  }
}

/** The source had removed it when a run was broken off. */
async function finishRest({ landing, tally }: Each): Promise<void> {
  for await (const { id, moving } of landing.unfinished()) {
    await landing.finish(id, moving?.held ?? false);
    tally.moved += 1;
    tally.resumed += 1;
  }
}

/** What is wrong with one message is noted; anything else ends the import. */
function tell({ name }: ImportItem, error: unknown, tally: Tally): void {
  if (error instanceof NotImported) tally.leave(name, error.reason, error.message);
  else tally.stop(reasonOf(error));
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
