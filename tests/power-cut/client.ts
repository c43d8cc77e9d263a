import { writeSync } from "node:fs";
import { bodyContent, bytesContent, type Content } from "../../src/mail/content.ts";
import type { QueueStorage, RecipientChange, Settlement } from "../../src/storage/storage.ts";
import { envelope } from "../storage/fixtures.ts";
import { factsOf } from "./facts.ts";
import type { Changes, Facts, Mark } from "./history.ts";
import { textOf } from "./texts.ts";

export const HOLDER = "me";

/** What a settlement does to one recipient. */
type End = "delivered" | "bounced" | "pending";

export interface WriteRequest {
  readonly ids: readonly string[];
  readonly size?: number;
  readonly streamed?: boolean;
  readonly due: number;
  readonly leased?: boolean;
}

export interface SettleRequest {
  readonly id: string;
  readonly ends: readonly End[];
  /** The next attempt, for who is still pending. */
  readonly due?: number;
  readonly bounce?: string;
}

/** A client of the store that says what it asks for before it asks, and what it was told at once. */
export class Client {
  readonly #storage: QueueStorage;
  readonly #marks: number;
  readonly #facts = new Map<string, Facts>();
  #number: number;

  constructor(storage: QueueStorage, marks: number, firstNumber: number) {
    this.#storage = storage;
    this.#marks = marks;
    this.#number = firstNumber;
  }

  /** Says what a start has found. */
  async look(): Promise<readonly string[]> {
    for (const { id } of await this.#storage.list({ limit: 10_000 })) {
      const facts = await factsOf(this.#storage, id);
      if (facts !== undefined) this.#facts.set(id, facts);
    }
    this.#say({ saw: Object.fromEntries(this.#facts) });
    return [...this.#facts.keys()];
  }

  /** Several envelopes that share one text: all or none (P2). */
  async write({ ids, size = 100, streamed, due, leased }: WriteRequest): Promise<void> {
    const text = ids[0] ?? "";
    const bytes = textOf(text, size);
    const facts = { text, size: bytes.length, attempts: 0, done: [], held: false, due };
    const content = streamed ? await this.#streamed(bytes) : bytesContent(bytes);
    const to = ["one@a.example", "two@b.example"];
    const lease = leased ? { lease: { holder: HOLDER, until: due + 1e9 } } : {};
    await this.#ask("write", Object.fromEntries(ids.map((id) => [id, facts])), () =>
      this.#storage.write(
        ids.map(() => envelope({ to, content })),
        due,
        { ids, ...lease },
      ),
    );
  }

  /** One attempt and what came of it, with a bounce in the same step when it made one due. */
  async settle({ id, ends, due, bounce }: SettleRequest): Promise<void> {
    const before = this.#fact(id);
    const recipients = ends.map((status, index): RecipientChange => ({ index, status }));
    const settlement: Settlement = {
      attempts: before.attempts + 1,
      recipients,
      ...(due && { due }),
    };
    const settled = recipients.filter(({ status }) => status !== "pending");
    const done = [...new Set([...before.done, ...settled.map(({ index }) => index)])].sort();
    const after = { ...before, attempts: before.attempts + 1, done, due: due ?? before.due };
    const changes: Record<string, Facts | null> = { [id]: done.length === 2 ? null : after };
    const text = bounce ?? "";
    const bytes = textOf(text, 200);
    if (bounce) {
      const news = { attempts: 0, done: [], held: false, due: null };
      changes[bounce] = { text, size: bytes.length, ...news };
    }
    const notice = envelope({
      sender: "",
      to: ["a@x.example", "b@x.example"],
      content: bytesContent(bytes),
    });
    const bounces = bounce ? { bounces: [{ id: bounce, envelope: notice }] } : {};
    await this.#ask(bounce ? "bounce" : "settle", changes, () =>
      this.#storage.settle(id, settlement, bounces),
    );
  }

  async setTimestamp(id: string, due: number): Promise<void> {
    await this.#change("setTimestamp", id, { due }, () => this.#storage.setTimestamp(id, due));
  }

  async incrementAttempts(id: string): Promise<void> {
    const attempts = this.#fact(id).attempts + 1;
    await this.#change("incrementAttempts", id, { attempts }, () =>
      this.#storage.incrementAttempts(id),
    );
  }

  async setDelivered(id: string): Promise<void> {
    await this.#change("setRecipientsDelivered", id, { done: [1] }, () =>
      this.#storage.setRecipientsDelivered(id, [1]),
    );
  }

  /** A second operator, who comes in between, is not told earlier than the first. */
  async setHeld(id: string, held: boolean, now: number): Promise<void> {
    const due = held ? this.#fact(id).due : now;
    const twice = () =>
      Promise.race([this.#storage.setHeld(id, held), this.#storage.setHeld(id, held)]);
    await this.#change(held ? "hold" : "release", id, { held, due }, twice);
  }

  async remove(id: string): Promise<void> {
    await this.#ask("remove", { [id]: null }, () => this.#storage.remove(id));
  }

  /** Makes everything due; promises nothing about a power cut, so that nobody knows what is due when behind it. */
  async flushAndLease(now: number): Promise<void> {
    const changes = [...this.#facts].map(([id, facts]) => [id, { ...facts, due: null }]);
    await this.#ask("flush", Object.fromEntries(changes), async () => {
      await this.#storage.flush();
      await this.#storage.lease(now, 5, { holder: HOLDER, until: now + 1000 });
    });
  }

  async #streamed(bytes: Uint8Array): Promise<Content> {
    const sink = await this.#storage.openBody();
    for (let at = 0; at < bytes.length; at += 65_536)
      await sink.write(bytes.slice(at, at + 65_536));
    return bodyContent(await sink.end());
  }

  async #change(what: string, id: string, change: Partial<Facts>, run: () => Promise<unknown>) {
    await this.#ask(what, { [id]: { ...this.#fact(id), ...change } }, run);
  }

  async #ask(what: string, changes: Changes, run: () => Promise<unknown>): Promise<void> {
    this.#number += 1;
    const number = this.#number;
    this.#say({ ask: number, what, changes });
    for (const [id, facts] of Object.entries(changes)) {
      if (facts === null) this.#facts.delete(id);
      else this.#facts.set(id, facts);
    }
    await run();
    this.#say({ ack: number });
  }

  #fact(id: string): Facts {
    const facts = this.#facts.get(id);
    if (facts === undefined) throw new Error(`the workload knows no message ${id}`);
    return facts;
  }

  #say(mark: Mark): void {
    writeSync(this.#marks, `${JSON.stringify(mark)}\n`);
  }
}
