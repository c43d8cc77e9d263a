import { assert } from "../../lib/assert.ts";
import type { BodySink } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import {
  CorruptError,
  type Lease,
  type LeaseOptions,
  type ListQuery,
  type MessageSummary,
  NotFoundError,
  type QueueStorage,
  type Settlement,
  type SettleOptions,
  type StorageInfo,
  type StoredMessage,
  type WriteOptions,
} from "../storage.ts";
import type { CloudParts } from "./assemble.ts";
import { inParallel } from "./in-parallel.ts";
import { list, load } from "./listing.ts";
import { heldState, isHeldBy, releasedState, renewedState } from "./state-object.ts";
import type { News } from "./wake-up.ts";

/** What is due within this is news to others: they need not look for it themselves. */
const SOON_MS = 5000;

/** The cloud engine: objects are the truth, conditional writes decide who has a message, and all else only helps to be quick. */
export class CloudStorage implements QueueStorage {
  readonly isShared = true;
  readonly #parts: CloudParts;
  #closing: Promise<void> | undefined;

  constructor(parts: CloudParts) {
    this.#parts = parts;
  }

  async write(
    envelopes: readonly Envelope[],
    timestamp: number,
    options: WriteOptions = {},
  ): Promise<readonly string[]> {
    const { part, writer } = this.#parts;
    part.objects.requireOpen();
    const ids = options.ids ?? envelopes.map(() => part.newId());
    assert(ids.length === envelopes.length, "every envelope has an id");
    const { settlement } = options;
    const entries = envelopes.map((envelope, index) => {
      return { id: ids[index] ?? "", envelope, due: timestamp, settlement };
    });
    if (ids.length > 0) await writer.write(entries, options);
    return ids;
  }

  async openBody(): Promise<BodySink> {
    return this.#parts.writer.openBody();
  }

  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    const { settler, fresh, part } = this.#parts;
    fresh.drop(id);
    await settler.settle(id, settlement, options);
    if (settlement.due !== undefined) this.#tell(id, part.time.toStore(settlement.due));
  }

  async setTimestamp(id: string, timestamp: number): Promise<void> {
    await this.settle(id, { due: timestamp });
  }

  async incrementAttempts(id: string): Promise<number> {
    return await this.#parts.settler.count(id);
  }

  async setRecipientsDelivered(id: string, indexes: readonly number[]): Promise<void> {
    const recipients = indexes.map((index) => ({ index, status: "delivered" as const }));
    await this.settle(id, { recipients });
  }

  load(): AsyncIterable<{ readonly timestamp: number; readonly id: string }> {
    return load(this.#parts.part);
  }

  async get(id: string): Promise<StoredMessage> {
    return await this.#parts.reader.message(id);
  }

  async remove(id: string): Promise<void> {
    const { reader, endings } = this.#parts;
    try {
      const { state } = await reader.current(id);
      await endings.end(await reader.head(id), state);
      reader.forget(id);
    } catch (error) {
      if (!(error instanceof NotFoundError || error instanceof CorruptError)) throw error;
    }
  }

  async lease(_now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    // When it is due is said by the store's clock alone: this node's may be wrong.
    return await this.#parts.leasing.lease(limit, options);
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    const { settler, part } = this.#parts;
    const lease = { holder, until: part.time.toStore(until) };
    await inParallel(ids, async (id) => {
      await ignoringGone(
        settler.change(id, ({ state }, change) =>
          isHeldBy(state, holder, change.now) ? renewedState(state, lease, change) : undefined,
        ),
      );
    });
  }

  async release(ids: readonly string[], holder: string): Promise<void> {
    const { settler, fresh } = this.#parts;
    await inParallel(ids, async (id) => {
      fresh.drop(id);
      const changed = settler.change(id, ({ state }, change) =>
        isHeldBy(state, holder, change.now) ? releasedState(state, change) : undefined,
      );
      const { before, after } = (await ignoringGone(changed)) ?? {};
      if (before !== after && after !== undefined) this.#tell(id, after.state.due);
    });
  }

  async nextDue(): Promise<number | null> {
    const { view, lookout, part } = this.#parts;
    const now = await lookout.glance();
    const due = view.nextDue(now);
    // What was not listed yet may be due.
    const known = lookout.isBehind ? Math.min(due ?? now, now) : due;
    if (known === null) return null;
    // Whoever waits in an older epoch was flushed and is due at once.
    return known === 0 ? 0 : part.time.fromStore(known);
  }

  async flush(): Promise<number> {
    const { counts, part, lookout } = this.#parts;
    const { incoming, deferred } = (await counts.info()).states;
    await part.epoch.advance();
    lookout.noteFlush();
    part.wakeUp?.tell([{ id: "", timestamp: 0 }]);
    return incoming + deferred;
  }

  async setHeld(id: string, held: boolean): Promise<boolean> {
    const { before, after } = await this.#parts.settler.change(id, ({ state }, change) =>
      state.held === held ? undefined : heldState(state, held, change),
    );
    if (before === after) return false;
    if (!held && after.state.lease === null) this.#tell(id, after.state.due);
    return true;
  }

  async list(query: ListQuery): Promise<readonly MessageSummary[]> {
    return await list(this.#parts, query);
  }

  async getInfo(): Promise<StorageInfo> {
    const info = await this.#parts.counts.info();
    const requests = this.#parts.requests();
    return requests === undefined ? info : { ...info, requests };
  }

  async wait(signal: AbortSignal): Promise<readonly News[] | null> {
    return await this.#parts.news.wait(signal);
  }

  /** Looks for what crashes have left behind, which is done every few hours anyway. */
  async sweep(): Promise<void> {
    await this.#parts.housekeeping.sweep();
  }

  refusal(): string | undefined {
    return this.#closing === undefined ? this.#parts.health.refusal() : "the store is closed";
  }

  async probe(): Promise<void> {
    this.#parts.part.objects.requireOpen();
    await this.#parts.health.probe();
  }

  close(): Promise<void> {
    this.#closing ??= this.#parts.close();
    return this.#closing;
  }

  #tell(id: string, due: number): void {
    const { time, wakeUp } = this.#parts.part;
    if (due < time.now() + SOON_MS) wakeUp?.tell([{ id, timestamp: due }]);
  }
}

/** What is gone needs neither renewal nor release. */
async function ignoringGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof NotFoundError || error instanceof CorruptError) return undefined;
    throw error;
  }
}
