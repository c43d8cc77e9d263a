import type { SQL } from "bun";
import { assert } from "../../lib/assert.ts";
import type { BodySink, SourceBody } from "../../mail/content.ts";
import { bodySize } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { adoptBodies } from "../adopt-bodies.ts";
import type { Batch } from "../batch.ts";
import { InFlight } from "../in-flight.ts";
import {
  EPOCH_HELD,
  EPOCH_LEASED,
  leaseOf,
  type MessageRow,
  numbered,
  settledRow,
} from "../message-row.ts";
import { requireStorable } from "../record.ts";
import type { ServerClock } from "../server-clock.ts";
import type {
  Lease,
  LeaseOptions,
  ListQuery,
  MessageSummary,
  QueueStorage,
  Settlement,
  SettleOptions,
  StorageInfo,
  StoredMessage,
  WriteOptions,
} from "../storage.ts";
import { NotFoundError } from "../storage.ts";
import type { Bodies } from "./bodies.ts";
import type { Change, Changed } from "./changes.ts";
import type { Connections } from "./connections.ts";
import { isAboutData, isConflict, storeError } from "./errors.ts";
import { type Housekeeping, tidy } from "./housekeeping.ts";
import type { NewMessage, StoredBodies } from "./insert.ts";
import { infoOf, listPage, startEpoch } from "./listing.ts";
import type { News } from "./news.ts";
import type { Schedule } from "./schedule.ts";
import type { Tables } from "./schema.ts";
import type { Transactions } from "./transaction.ts";
import type { Write } from "./writes.ts";

/** What `openPostgresStorage` has opened. */
export interface PostgresParts {
  readonly sql: SQL;
  /** The database's clock: all instants in its tables are by it. */
  readonly serverClock: ServerClock;
  readonly tables: Tables;
  readonly connections: Connections;
  readonly transactions: Transactions;
  readonly writes: Batch<Write, void>;
  readonly changes: Batch<Change, Changed>;
  readonly reader: Batch<string, StoredMessage>;
  readonly bodies: Bodies;
  readonly stored: StoredBodies;
  readonly schedule: Schedule;
  readonly news: News;
  readonly housekeeping: Housekeeping;
  readonly newId: () => string;
  readonly check: () => Promise<void>;
}

/** A body of this many octets is stored once however many messages have it, and never in memory whole after that. */
const BODY_BYTES_MIN = 64 * 1024;
const PAGE = 1000;
const CLOSE_SECONDS = 5;

/** The PostgreSQL engine: every node of a queue works on the same tables, and no node keeps anything that they do not say. */
export class PostgresStorage implements QueueStorage {
  readonly isShared = true;
  readonly #parts: PostgresParts;
  /** Messages whose ids somebody may use twice, on their way into the database. */
  readonly #writing = new InFlight();
  #closing: Promise<void> | undefined;

  constructor(parts: PostgresParts) {
    this.#parts = parts;
  }

  async write(
    envelopes: readonly Envelope[],
    timestamp: number,
    options: WriteOptions = {},
  ): Promise<readonly string[]> {
    this.#requireOpen();
    const ids = options.ids ?? envelopes.map(() => this.#parts.newId());
    assert(ids.length === envelopes.length, "every envelope has an id");
    const isFresh = options.fresh ?? options.ids === undefined;
    const { lease } = options;
    await this.#measureTime();
    const due = this.#parts.serverClock.toServer(timestamp);
    const settlement = this.#toServer(options.settlement);
    if (!isFresh) while (this.#writing.has(...ids)) await this.#writing.change(ids);
    const write = (): Promise<void> =>
      this.#adopting(envelopes, async (adopted) => {
        const messages = adopted.map((envelope, index) => ({
          ...newMessage(ids[index] ?? "", envelope, due),
          ...(lease && { lease }),
          ...(settlement && { settlement }),
        }));
        await this.#guard(() => this.#parts.writes.add({ messages, isFresh }));
      });
    await (isFresh ? write() : this.#writing.run(ids, write));
    return ids;
  }

  async openBody(): Promise<BodySink> {
    this.#requireOpen();
    return await this.#guard(() => this.#parts.bodies.open());
  }

  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    const { holder, bounces = [] } = options;
    const change = this.#toServer(settlement);
    const due = this.#parts.serverClock.now();
    await this.#adopting(
      bounces.map(({ envelope }) => envelope),
      async (adopted) => {
        const made = adopted.map((envelope, index) =>
          newMessage(bounces[index]?.id ?? "", envelope, due),
        );
        await this.#change({
          id,
          ...(holder === undefined ? { isNews: true } : { holder }),
          bounces: made,
          next: (row, epoch) => settledRow(row, change, epoch),
        });
      },
    );
  }

  async setTimestamp(id: string, timestamp: number): Promise<void> {
    await this.settle(id, { due: timestamp });
  }

  async incrementAttempts(id: string): Promise<number> {
    const before = await this.#change({
      id,
      next: (row, epoch) => settledRow(row, { attempts: row.attempts + 1 }, epoch),
    });
    return before.attempts + 1;
  }

  async setRecipientsDelivered(id: string, indexes: readonly number[]): Promise<void> {
    const recipients = indexes.map((index) => ({ index, status: "delivered" as const }));
    await this.settle(id, { recipients });
  }

  async *load(): AsyncGenerator<{ readonly timestamp: number; readonly id: string }> {
    let after = "";
    while (true) {
      const page = await this.list({ after, limit: PAGE });
      for (const { id, due } of page) yield { timestamp: due, id };
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.id;
    }
  }

  async get(id: string): Promise<StoredMessage> {
    const message = await this.#guard(() => this.#parts.reader.add(id));
    return this.#toNode(message);
  }

  async remove(id: string): Promise<void> {
    try {
      await this.#change({ id, next: () => null });
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }

  async lease(now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    if (limit === 0) return [];
    const { serverClock, schedule } = this.#parts;
    await this.#measureTime();
    const rows = await this.#guard(() => schedule.lease(serverClock.toServer(now), limit, options));
    return rows.map((row) => this.#toNode(leaseOf(row)));
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    await this.#guard(() => this.#parts.schedule.renew(ids, holder, until));
  }

  async release(ids: readonly string[], holder: string): Promise<void> {
    const released = await this.#guard(() => this.#parts.schedule.release(ids, holder));
    const waiting = released.filter(({ epoch }) => epoch < EPOCH_LEASED);
    this.#parts.news.tell(waiting.map(({ id, due }) => ({ id, timestamp: due })));
  }

  async nextDue(): Promise<number | null> {
    const due = await this.#guard(() => this.#parts.schedule.nextDue());
    // Whoever was flushed is due at once, which is no instant of any clock.
    return due === null || due === 0 ? due : this.#parts.serverClock.fromServer(due);
  }

  async flush(): Promise<number> {
    const { transactions, tables, news } = this.#parts;
    const waiting = await this.#guard(() =>
      transactions.run((connection) => startEpoch(connection, tables)),
    );
    news.tellOfAll();
    return waiting;
  }

  async setHeld(id: string, held: boolean): Promise<boolean> {
    const now = this.#parts.serverClock.now();
    const isHeld = ({ epoch }: MessageRow): boolean => epoch === EPOCH_HELD;
    const before = await this.#change({
      id,
      isNews: !held,
      next: (row, epoch) => {
        if (isHeld(row) === held) return row;
        return held ? { ...row, epoch: EPOCH_HELD } : { ...row, due: now, epoch };
      },
    });
    return isHeld(before) !== held;
  }

  async list(query: ListQuery): Promise<readonly MessageSummary[]> {
    const page = await this.#read((connection, tables) => listPage(connection, tables, query));
    return page.map((summary) => this.#toNode(summary));
  }

  async getInfo(): Promise<StorageInfo> {
    return await this.#read(infoOf);
  }

  async wait(signal: AbortSignal): Promise<readonly { timestamp: number; id: string }[] | null> {
    const heard = await this.#parts.news.wait(signal);
    const { serverClock } = this.#parts;
    if (heard === null) return null;
    return heard.map(({ id, timestamp }) => ({ id, timestamp: serverClock.fromServer(timestamp) }));
  }

  refusal(): string | undefined {
    if (this.#closing !== undefined) return "the store is closed";
    return this.#parts.connections.refusal();
  }

  async probe(): Promise<void> {
    await this.#guard(this.#parts.check);
  }

  /** Puts the counts together and such things; the engine does so by itself now and then. */
  async tidy(): Promise<void> {
    await this.#read(tidy);
  }

  /** Removes what crashed uploads have left; the engine does so by itself now and then. */
  async sweepBodies(): Promise<void> {
    await this.#parts.bodies.sweep();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { writes, changes, reader, housekeeping, news, connections, sql } = this.#parts;
    await Promise.all([writes.idle(), changes.idle(), reader.idle(), housekeeping.stop()]);
    await news.close();
    connections.stop();
    await sql.close({ timeout: CLOSE_SECONDS });
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new QueueError("the store is closed");
  }

  /** Now and then: somebody may have set this node's clock. */
  async #measureTime(): Promise<void> {
    const { serverClock } = this.#parts;
    if (serverClock.isStale) await this.#guard(() => serverClock.measure());
  }

  /** What this node says of an instant, in the database's time. */
  #toServer<T extends { readonly due?: number } | undefined>(said: T): T {
    if (said?.due === undefined) return said;
    return { ...said, due: this.#parts.serverClock.toServer(said.due) };
  }

  #toNode<T extends { readonly due: number }>(stored: T): T {
    return { ...stored, due: this.#parts.serverClock.fromServer(stored.due) };
  }

  async #change(change: Change): Promise<MessageRow> {
    return await this.#guard(() => this.#parts.changes.add(change));
  }

  async #read<T>(
    read: (connection: Parameters<typeof infoOf>[0], tables: Tables) => Promise<T>,
  ): Promise<T> {
    const { connections, tables } = this.#parts;
    return await this.#guard(() => connections.run((connection) => read(connection, tables)));
  }

  /** Whatever goes wrong with the database becomes a `QueueError`. */
  async #guard<T>(work: () => Promise<T>): Promise<T> {
    this.#requireOpen();
    try {
      return await work();
    } catch (error) {
      throw isAboutData(error) || isConflict(error) ? storeError(error) : error;
    }
  }

  /** Brings large bodies into the database first, each once, whoever else shares it. */
  async #adopting(
    envelopes: readonly Envelope[],
    work: (adopted: readonly Envelope[]) => Promise<void>,
  ): Promise<void> {
    const { stored } = this.#parts;
    const streamed = streamedBodies(envelopes);
    const adopted = await adoptBodies(streamed, stored, () => this.openBody());
    try {
      await work(adopted.envelopes);
    } finally {
      // Without effect on those that a message has now.
      await adopted.discard();
    }
  }
}

/** The same envelopes, with bodies that are too large for one row as streams; those that were shared still are. */
function streamedBodies(envelopes: readonly Envelope[]): readonly Envelope[] {
  const sources = new Map<unknown, SourceBody>();
  return envelopes.map((envelope) => {
    const { body } = envelope.content;
    if (body.kind === "source" || bodySize(body) < BODY_BYTES_MIN) return envelope;
    const source = sources.get(body.bytes) ?? sourceOver(body.bytes);
    sources.set(body.bytes, source);
    return { ...envelope, content: { ...envelope.content, body: source } };
  });
}

function sourceOver(bytes: Uint8Array): SourceBody {
  return {
    kind: "source",
    size: bytes.length,
    head: bytes.subarray(0, BODY_BYTES_MIN),
    async *stream() {
      yield bytes;
    },
  };
}

function newMessage(id: string, envelope: Envelope, due: number): NewMessage {
  requireStorable(id, envelope);
  return { id, envelope: numbered(envelope), due };
}
