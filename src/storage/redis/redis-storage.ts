import { assert } from "../../lib/assert.ts";
import type { BodySink } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { summaryOf } from "../message-row.ts";
import type { Places } from "../places.ts";
import {
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
import type { Health } from "./health.ts";
import { Leasing } from "./leasing.ts";
import { listPages } from "./listing.ts";
import type { News, NewsItem } from "./news.ts";
import { redisPlaces } from "./places.ts";
import { Reader, type ReaderParts } from "./reader.ts";
import { Settler } from "./settler.ts";
import { requireDone } from "./steps.ts";
import { entriesOf, Writer, type WriterParts } from "./writer.ts";

/** What `openRedisStorage` has opened. */
export interface RedisParts extends ReaderParts, WriterParts {
  readonly news: News;
  readonly health: Health;
}

/** The Redis engine: everything of one queue under one hash tag, each step a script. */
export class RedisStorage implements QueueStorage {
  readonly isShared = true;
  readonly places: Places;
  readonly #parts: RedisParts;
  readonly #leasing: Leasing;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #settler: Settler;
  #closing: Promise<void> | undefined;

  constructor(parts: RedisParts) {
    this.#parts = parts;
    this.places = redisPlaces(parts.steps, parts);
    this.#leasing = new Leasing(parts);
    this.#reader = new Reader(parts);
    this.#writer = new Writer(parts);
    this.#settler = new Settler({ ...parts, reader: this.#reader, writer: this.#writer });
  }

  async write(
    envelopes: readonly Envelope[],
    timestamp: number,
    options: WriteOptions = {},
  ): Promise<readonly string[]> {
    const ids = options.ids ?? envelopes.map(() => this.#parts.newId());
    assert(ids.length === envelopes.length, "every envelope has an id");
    const entries = entriesOf(ids, envelopes, timestamp, options.settlement);
    if (ids.length > 0) await this.#writer.write(entries, options);
    return ids;
  }

  async openBody(): Promise<BodySink> {
    return this.#writer.openBody();
  }

  async settle(id: string, settlement: Settlement, options: SettleOptions = {}): Promise<void> {
    await this.#settler.change(id, () => settlement, options);
  }

  async setTimestamp(id: string, timestamp: number): Promise<void> {
    await this.settle(id, { due: timestamp });
  }

  async incrementAttempts(id: string): Promise<number> {
    const before = await this.#settler.change(id, (row) => ({ attempts: row.attempts + 1 }));
    return before.attempts + 1;
  }

  async setRecipientsDelivered(id: string, indexes: readonly number[]): Promise<void> {
    const recipients = indexes.map((index) => ({ index, status: "delivered" as const }));
    await this.settle(id, { recipients });
  }

  async *load(): AsyncGenerator<{ readonly timestamp: number; readonly id: string }> {
    for await (const rows of listPages(this.#parts.steps, {})) {
      for (const { id, due } of await this.#reader.sound(rows)) yield { timestamp: due, id };
    }
  }

  async get(id: string): Promise<StoredMessage> {
    return await this.#reader.message(id);
  }

  async remove(id: string): Promise<void> {
    const { fresh, seen, steps, confirm } = this.#parts;
    fresh.drop(id);
    seen.forget(id);
    await steps.run("cannot remove the message", "remove", [id]);
    await confirm();
  }

  async lease(now: number, limit: number, options: LeaseOptions): Promise<readonly Lease[]> {
    const { time, steps } = this.#parts;
    if (time.isStale) await steps.done("cannot ask for the time", () => time.measure());
    const lease = () => this.#leasing.lease(time.toServer(now), limit, options);
    return await steps.done("cannot lease", lease);
  }

  async renew(ids: readonly string[], holder: string, until: number): Promise<void> {
    if (ids.length === 0) return;
    const { time, steps } = this.#parts;
    const args = [time.now(), holder, time.toServer(until), ...ids];
    await steps.run("cannot renew", "renew", args);
  }

  async release(ids: readonly string[], holder: string): Promise<void> {
    if (ids.length === 0) return;
    const { time, node, fresh, steps } = this.#parts;
    for (const id of ids) fresh.drop(id);
    await steps.run("cannot release", "release", [time.now(), holder, node, ...ids]);
  }

  async nextDue(): Promise<number | null> {
    const { time, steps } = this.#parts;
    const due = await steps.run("cannot read the schedule", "nextDue", [time.now()]);
    if (due === "") return null;
    // Whoever waits in an older epoch was flushed and is due at once.
    return due === "flushed" ? 0 : time.fromServer(Number(due));
  }

  async flush(): Promise<number> {
    return Number(await this.#parts.steps.run("cannot flush", "flush", [this.#parts.node]));
  }

  async setHeld(id: string, held: boolean): Promise<boolean> {
    const { deadline, node, time, confirm, steps } = this.#parts;
    const args = [deadline(), node, time.now(), id, held ? 1 : 0];
    const answer = await steps.run("cannot hold or release", "hold", args);
    if (answer === "gone") throw new NotFoundError(`no message ${id}`);
    requireDone(answer);
    await confirm();
    return answer === "ok";
  }

  async list(query: ListQuery): Promise<readonly MessageSummary[]> {
    const found: MessageSummary[] = [];
    for await (const rows of listPages(this.#parts.steps, query)) {
      found.push(...(await this.#reader.sound(rows)).map(summaryOf));
      if (found.length >= query.limit) break;
    }
    return found.slice(0, query.limit);
  }

  async getInfo(): Promise<StorageInfo> {
    const answer = (await this.#parts.steps.run("cannot count", "info", [])) as string[];
    const [bytes, corrupt, oldestAt = "", ...counts] = answer;
    const [incoming = 0, active = 0, deferred = 0, hold = 0] = counts.map(Number);
    return {
      size: incoming + active + deferred + hold,
      states: { incoming, active, deferred, hold },
      bytes: Number(bytes),
      oldestAt: oldestAt === "" ? null : Number(oldestAt),
      corrupt: Number(corrupt),
    };
  }

  async wait(signal: AbortSignal): Promise<readonly NewsItem[] | null> {
    return await this.#parts.news.wait(signal);
  }

  refusal(): string | undefined {
    return this.#closing === undefined ? this.#parts.health.refusal() : "the store is closed";
  }

  async probe(): Promise<void> {
    this.#parts.steps.requireOpen();
    await this.#parts.health.probe();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { news, health, steps, connection } = this.#parts;
    news.close();
    health.stop();
    await steps.close();
    connection.close();
  }
}
