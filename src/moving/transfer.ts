import { Permits } from "../lib/permits.ts";
import type { Clock } from "../lib/world.ts";
import {
  CorruptError,
  type MessageSummary,
  NotFoundError,
  type QueueStorage,
  type StoredMessage,
} from "../storage/storage.ts";
import { DamagedError } from "../storage/store-error.ts";
import { eachAtOnce } from "./at-once.ts";
import { everybody, type Freight, found, type Landing, openLanding } from "./landing.ts";
import { type MoveReport, Tally } from "./report.ts";

/** One end of a transfer. */
export interface Store {
  readonly storage: QueueStorage;
  /** What it is called, without a login; the same in every run. */
  readonly name: string;
}

export interface TransferParts {
  readonly from: Store;
  readonly to: Store;
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

const AT_ONCE = 128;
/** Of messages larger than this fewer: a store may have some octets of each in memory while it takes them (P8). */
const LARGE = 1024 * 1024;
const LARGE_AT_ONCE = 8;
const PAGE = 500;

/**
 * Moves every message of one store to another one, each in six steps:
 *
 * 1. the target is asked for the id: what it has under it is no copy of ours, and the message is left;
 * 2. source: held and marked as moving, one durable step; from here on no node begins to deliver it there;
 * 3. source: read; one that a node has leased meanwhile is freed again and left;
 * 4. target: stored with all that is known of it, held, marked, leased to this run, one durable step;
 * 5. source: removed;
 * 6. target: freed, or left held when an operator had held it.
 *
 * So at no instant is a message one that may be delivered in both stores: until 5 it is held in the target, from 2 on it
 * is held in the source. Whenever the process ends, the next run of the same transfer goes on from what the stores say:
 *
 * - marked in the source, not in the target: the transfer goes on from 3;
 * - in both: nobody can have delivered it, and the copy is thrown away and made again;
 * - only in the target, marked: the source was rid of it, and what is left is 6.
 *
 * That last step is right because a marked message leaves the source by step 5 and nothing else: no node delivers what is
 * held. Only an operator's own hand can break that, who frees or removes at one end what a run that was broken off holds
 * there. What is under way when the next run does not come stays held, at most `atOnce` messages.
 *
 * What a live run has landed is leased to it, and only whoever owns the copy removes the message from the source: a second
 * run that finds such mail ends.
 */
export async function transfer(parts: TransferParts): Promise<MoveReport> {
  const tally = new Tally();
  const { from, to, signal, atOnce = AT_ONCE } = parts;
  const landing = openLanding({ ...parts, target: to.storage, from: from.name, to: to.name });
  const each: Each = { ...parts, landing, tally };
  const isOver = (): boolean => tally.isStopped || signal.aborted;
  const large = new Permits(LARGE_AT_ONCE);
  const onEach = async (summary: MessageSummary): Promise<void> => {
    const work = async (): Promise<void> => {
      if (isOver()) return;
      await move(summary, each).catch((error: unknown) => tally.stop(reasonOf(error)));
    };
    await (summary.size > LARGE ? large.run(work) : work());
    parts.onProgress(tally.seen);
  };
  try {
    for await (const message of landing.unfinished()) {
      if (isOver()) break;
      await resume(message, each);
    }
    await eachAtOnce(everything(from.storage), atOnce, onEach, isOver);
  } catch (error) {
    tally.stop(reasonOf(error));
  }
  if (signal.aborted) tally.stop("interrupted");
  return tally.report();
}

interface Each extends TransferParts {
  readonly landing: Landing;
  readonly tally: Tally;
}

async function* everything(storage: QueueStorage): AsyncGenerator<MessageSummary> {
  let after = "";
  while (true) {
    const page = await storage.list({ after, limit: PAGE });
    yield* page;
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.id;
  }
}

/** Brings to its end what a run before this one has left in the target. */
async function resume(message: StoredMessage, each: Each): Promise<void> {
  const { landing, from, to, tally } = each;
  const { id, moving } = message;
  if (!(await landing.untilNobodys(message, each.signal))) return;
  if ((await found(from.storage, id)) !== undefined) {
    // It is moved anew, with what has become of it meanwhile.
    await at(to, () => to.storage.remove(id));
    return;
  }
  await at(to, () => landing.finish(id, moving?.held ?? false));
  tally.moved += 1;
  tally.resumed += 1;
}

async function move(summary: MessageSummary, each: Each): Promise<void> {
  const { landing, tally, to } = each;
  const { id } = summary;
  if ((await at(to, () => landing.find(id))) !== undefined) {
    tally.leave(id, "taken", `${to.name} has a message of this id`);
    return;
  }
  const message = await taken(summary, each);
  if (message === undefined) return;
  tally.halfway += 1;
  const freight = freightOf(message);
  if (await landed(freight, each)) {
    const isOurs = await removed(message, each);
    if (isOurs) await at(to, () => landing.finish(id, freight.held));
    tally.moved += Number(isOurs);
    tally.gone += Number(!isOurs);
  }
  tally.halfway -= 1;
}

/** The message, held and marked in the source, with nobody who delivers it; `undefined`: it is left there, or gone. */
async function taken(
  { id, state }: MessageSummary,
  each: Each,
): Promise<StoredMessage | undefined> {
  const { from, tally } = each;
  try {
    // What waits can only have a mark that an operator has made void by freeing it.
    const isWaiting = state === "incoming" || state === "deferred";
    const before = isWaiting ? undefined : await at(from, () => from.storage.get(id));
    if (before && isLeft(before, each)) return undefined;
    const held = before?.moving?.held ?? before?.state === "hold";
    const moving = { from: from.name, to: each.to.name, held };
    await at(from, () => from.storage.settle(id, { held: true, moving }));
    const message = await at(from, () => from.storage.get(id));
    if (!isLeft(message, each)) return message;
    await unmark(message, held, each);
  } catch (error) {
    if (error instanceof NotFoundError) tally.gone += 1;
    else if (error instanceof CorruptError) tally.leave(id, "damaged", error.message);
    else throw error;
  }
  return undefined;
}

/** Leaves it as it was before; a mark of another run is that one's to take away. */
async function unmark(message: StoredMessage, held: boolean, each: Each): Promise<void> {
  const { from } = each;
  if (!isOurs(message, each)) return;
  await at(from, () => from.storage.settle(message.id, { held, moving: null }));
}

/** Whether it has to stay where it is, which is told. */
function isLeft(message: StoredMessage, each: Each): boolean {
  const { id, lease, moving } = message;
  const { clock, tally } = each;
  if (lease && lease.until > clock.now()) {
    tally.leave(id, "busy", `${lease.holder} is delivering it`);
    return true;
  }
  if (moving === undefined || isOurs(message, each)) return false;
  const other = `transfer from ${moving.from} to ${moving.to}`;
  tally.leave(id, "elsewhere", `a ${other} was broken off with it: run that again`);
  return true;
}

function isOurs({ moving }: StoredMessage, { from, to }: Each): boolean {
  return moving?.from === from.name && moving.to === to.name;
}

function freightOf(message: StoredMessage): Freight {
  const { id, envelope, original, attempts, due, delayNotified, recipients, moving } = message;
  const known = { attempts, due, delayNotified, recipients };
  const whole = { ...envelope, recipients: original };
  return { id, envelope: whole, known, held: moving?.held ?? false };
}

/**
 * False: it is not in the target, and the source has it back. What the target would not have ends the transfer. Rejects when
 * the message stays held at both ends.
 */
async function landed(freight: Freight, each: Each): Promise<boolean> {
  const { landing, from, to, tally } = each;
  const { id, held } = freight;
  try {
    const refusal = to.storage.refusal();
    if (refusal !== undefined) throw new Error(refusal);
    await landing.land(freight);
    return true;
  } catch (cause) {
    // Only what is certainly not in the target may be delivered from the source again.
    const isBack = await at(to, () => landing.withdraw(id));
    if (!isBack) throw new StoreFailed(to.name, { cause });
    const isThere = await isFreed(id, held, from);
    if (!isThere || isDamage(cause)) tally.leave(id, "damaged", reasonOf(cause));
    else tally.stop(`${to.name}: ${reasonOf(cause)}`);
    return false;
  }
}

/** False: its body turned out to be damaged while it was read, and the source has moved it aside. */
async function isFreed(id: string, held: boolean, from: Store): Promise<boolean> {
  try {
    await at(from, () => from.storage.settle(id, { held, moving: null }));
    return true;
  } catch (error) {
    if (error instanceof NotFoundError) return false;
    throw error;
  }
}

function isDamage(error: unknown): boolean {
  if (error instanceof CorruptError || error instanceof DamagedError) return true;
  return error instanceof Error && error.cause !== undefined && isDamage(error.cause);
}

/** False: the source had no such message any more. It was removed by an operator, or is moved by another run. */
async function removed(message: StoredMessage, { landing, from, to }: Each): Promise<boolean> {
  const { id } = message;
  try {
    await at(from, () => from.storage.settle(id, { recipients: everybody(message) }));
    return true;
  } catch (error) {
    if (!(error instanceof NotFoundError)) throw error;
    await at(to, () => landing.withdraw(id));
    return false;
  }
}

/** One of the two stores does not do what it is asked to. */
class StoreFailed extends Error {
  override readonly name = "StoreFailed";

  constructor(store: string, { cause }: { readonly cause: unknown }) {
    super(`${store}: ${reasonOf(cause)}`, { cause });
  }
}

/** Says of what goes wrong where it did; what is about the message alone comes through as it is. */
async function at<T>({ name }: Store, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NotFoundError || error instanceof CorruptError) throw error;
    throw new StoreFailed(name, { cause: error });
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
