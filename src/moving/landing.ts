import { pause } from "../lib/pause.ts";
import type { Clock } from "../lib/world.ts";
import type { SourceBody } from "../mail/content.ts";
import type { Envelope } from "../mail/envelope.ts";
import {
  CorruptError,
  LostLeaseError,
  type Moving,
  NotFoundError,
  type QueueStorage,
  type Settlement,
  type StoredMessage,
} from "../storage/storage.ts";

/** A message with all that is known of it where it comes from. */
export interface Freight {
  readonly id: string;
  /** With all of its recipients, done ones included. */
  readonly envelope: Envelope;
  /** Attempts, the next one, and what became of each recipient. */
  readonly known: Settlement;
  /** An operator holds it. */
  readonly held: boolean;
}

export interface LandingParts {
  readonly target: QueueStorage;
  readonly clock: Clock;
  /** A name that no other run has. */
  readonly holder: string;
  readonly from: string;
  readonly to: string;
}

/** What has landed belongs to its run for so long; a run that lives lets no lease come near its end. */
export const LANDED_MS = 10_000;

const PAGE = 500;

/**
 * The target's end of a move. A message lands held, marked and leased to the run, in one durable step with all that is
 * known of it, and is nobody's to deliver until `finish`. The mark outlives the run, the lease soon ends: so a later run
 * finds what one before it has left, and knows whether that is still alive.
 */
export interface Landing {
  /** What the target has under this id. */
  find(id: string): Promise<StoredMessage | undefined>;
  /** Whether it landed in a run of the same move, and is not finished. */
  isUnfinished(message: Pick<StoredMessage, "moving" | "state">): boolean;
  /** Stores it, held. Rejects also when another run has landed it meanwhile: the copy is that one's. */
  land(freight: Freight): Promise<void>;
  /** From now on it is delivered from here; a held one waits for its operator. */
  finish(id: string, held: boolean): Promise<void>;
  /**
   * Takes back what this run has landed. False: something is there all the same and stays held, since the lease on it was
   * over by now, or another run has it.
   */
  withdraw(id: string): Promise<boolean>;
  /** Everything that is unfinished. */
  unfinished(): AsyncGenerator<StoredMessage>;
  /**
   * Waits until no run has an unfinished message. One that was killed leaves leases behind, which end soon; one that lives
   * finishes what it has, which is told by an error. False: the wait was aborted.
   */
  untilNobodys(message: StoredMessage, signal: AbortSignal): Promise<boolean>;
}

export function openLanding(parts: LandingParts): Landing {
  const { target, clock, holder, from, to } = parts;
  const isUnfinished: Landing["isUnfinished"] = ({ moving, state }) =>
    moving?.from === from && moving.to === to && state === "hold";
  const find = (id: string) => found(target, id);
  return {
    find,
    isUnfinished,
    land: (freight) => land(freight, parts),

    async finish(id, held) {
      const change = { held, moving: null };
      try {
        await target.settle(id, change, { holder });
      } catch (error) {
        if (error instanceof NotFoundError) return;
        if (!(error instanceof LostLeaseError)) throw error;
        // Nobody else has it at the source any more, so it has to be delivered from here whoever notices.
        await target.settle(id, change).catch(unlessGone);
      }
    },

    async withdraw(id) {
      const message = await find(id);
      if (message === undefined) return true;
      const end = { recipients: everybody(message) };
      try {
        await target.settle(id, end, { holder });
      } catch (error) {
        if (error instanceof LostLeaseError) return false;
        unlessGone(error);
      }
      return true;
    },

    unfinished: () => unfinished(target, isUnfinished),

    async untilNobodys(message, signal) {
      const until = ownedUntil(message, clock);
      if (until === undefined) return true;
      await pause(clock, until - clock.now() + 1, signal);
      if (signal.aborted) return false;
      const now = await find(message.id);
      if (now && isUnfinished(now) && ownedUntil(now, clock) === undefined) return true;
      throw new Error(anotherMove(to));
    },
  };
}

function anotherMove(to: string): string {
  return `another move into ${to} is at work`;
}

/** Until when a run has it that may be alive; `undefined`: none has. */
function ownedUntil({ lease }: StoredMessage, clock: Clock): number | undefined {
  return lease && lease.until > clock.now() ? lease.until : undefined;
}

async function* unfinished(
  target: QueueStorage,
  isUnfinished: Landing["isUnfinished"],
): AsyncGenerator<StoredMessage> {
  let after = "";
  while (true) {
    const page = await target.list({ after, limit: PAGE, state: "hold" });
    for (const { id } of page.filter(isUnfinished)) {
      const message = await found(target, id);
      if (message !== undefined && isUnfinished(message)) yield message;
    }
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.id;
  }
}

/** The settlement of every recipient that ends a message without a trace. */
export function everybody({ original }: Pick<StoredMessage, "original">) {
  return original.map(({ index }) => ({ index, status: "dropped" as const }));
}

/** `undefined`: it is not there, or was damaged and is not there any more. */
export async function found(storage: QueueStorage, id: string): Promise<StoredMessage | undefined> {
  try {
    return await storage.get(id);
  } catch (error) {
    if (error instanceof NotFoundError || error instanceof CorruptError) return undefined;
    throw error;
  }
}

function unlessGone(error: unknown): void {
  if (!(error instanceof NotFoundError)) throw error;
}

async function land({ id, envelope, known, held }: Freight, parts: LandingParts): Promise<void> {
  const { target, clock, holder, from, to } = parts;
  const moving: Moving = { from, to, held };
  const settlement = { ...known, held: true, moving };
  const copy = await copied(envelope, target);
  try {
    // After the copy, which may take longer than a lease.
    const until = clock.now() + LANDED_MS;
    const options = { ids: [id], lease: { holder, until }, settlement };
    await target.write([copy.envelope], known.due ?? clock.now(), options);
    if (clock.now() >= until) throw new Error("the target took too long; the message stays held");
    // What was there already is left as it is, and nobody says so.
    const there = await found(target, id);
    const owner = there?.lease?.holder ?? holder;
    if (there === undefined || owner !== holder) throw new Error(anotherMove(to));
  } finally {
    await copy.discard();
  }
}

/** A streamed body goes into the target first, so that storing its message takes no time. */
async function copied(envelope: Envelope, target: QueueStorage) {
  const { body } = envelope.content;
  if (body.kind === "bytes") return { envelope, discard: async () => undefined };
  const sink = await target.openBody();
  const discard = (): Promise<void> => sink.discard().catch(() => undefined);
  try {
    for await (const chunk of body.stream()) await sink.write(chunk);
    const copy: SourceBody = await sink.end();
    return { envelope: { ...envelope, content: { ...envelope.content, body: copy } }, discard };
  } catch (error) {
    await discard();
    throw error;
  }
}
