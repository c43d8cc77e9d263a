import type { Connection } from "./connection.ts";
import type { QueuePart } from "./part.ts";

/** A message that is due at `timestamp`. */
export interface NewsItem {
  readonly timestamp: number;
  readonly id: string;
}

/** Whoever waits looks for leases that are over this often; it is also how long one read blocks. */
const ROUND_MS = 1000;
/** Entries of one read, each of several messages; there is always another. */
const ENTRIES_MAX = 100;
const PAUSE_MS = 500;

/**
 * What other nodes wrote or made due, out of the stream `{p}:news`: hints and never the truth. Reads block on a connection of
 * their own. Leases that ended with their node are given back here, by whoever waits.
 */
export class News {
  readonly #part: QueuePart;
  readonly #closed = new AbortController();
  #last: string;
  #reader: Connection | undefined;
  /** The connection was lost meanwhile: nobody knows what was missed. */
  #isBlind = false;

  constructor(part: QueuePart, last: string) {
    this.#part = part;
    this.#last = last;
    part.connection.onBack(() => {
      this.#isBlind = true;
    });
  }

  /** Resolves with news, with nothing when it is time to look all the same, and with `null` when nobody is to call again. */
  async wait(signal: AbortSignal): Promise<readonly NewsItem[] | null> {
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    while (!ended.aborted) {
      const found = await unlessAborted(ended, this.#round());
      if (found !== undefined) return found;
    }
    this.#reader?.close();
    this.#reader = undefined;
    return null;
  }

  close(): void {
    this.#closed.abort();
    this.#reader?.close();
  }

  /** `undefined`: nothing happened. Never rejects. */
  async #round(): Promise<readonly NewsItem[] | undefined> {
    try {
      if (this.#isBlind) {
        this.#last = await latest(this.#part.connection, this.#part.base);
        this.#isBlind = false;
        return [];
      }
      const expired = await this.#expire();
      if (expired.length > 0) return expired;
      return await this.#read();
    } catch {
      // The connection tells of its trouble; here it is only waited for.
      const { connection, world } = this.#part;
      await new Promise<void>((resolve) => world.clock.after(PAUSE_MS, resolve));
      // Where only news cannot be had, it is time to look.
      return connection.down === undefined ? [] : undefined;
    }
  }

  async #expire(): Promise<readonly NewsItem[]> {
    const { connection, base, time } = this.#part;
    const fields = (await connection.run("expire", base, [time.now()])) as string[];
    const items: NewsItem[] = [];
    for (let index = 0; index < fields.length; index += 2) {
      const [id = "", due] = fields.slice(index, index + 2);
      items.push({ id, timestamp: time.fromServer(Number(due)) });
    }
    return items;
  }

  async #read(): Promise<readonly NewsItem[] | undefined> {
    this.#reader ??= await this.#openReader();
    const args = ["COUNT", ENTRIES_MAX, "BLOCK", ROUND_MS];
    const stream = ["STREAMS", `${this.#part.base}:news`, this.#last];
    const answer = await this.#reader.command("xread", [...args, ...stream]);
    if (answer === null) return undefined;
    const [[, entries] = ["", []]] = answer as [string, [string, string[]][]][];
    this.#last = entries.at(-1)?.[0] ?? this.#last;
    const foreign = entries
      .map(([, fields]) => fields)
      .filter(([, origin]) => origin !== this.#part.node);
    if (foreign.length === 0) return undefined;
    return foreign.flatMap(([, , ...words]) => this.#itemsOf(words));
  }

  async #openReader(): Promise<Connection> {
    const reader = await this.#part.connection.another(ROUND_MS);
    if (this.#closed.signal.aborted) reader.close();
    return reader;
  }

  /** `i`, an id, `t`, when it is due, and so on; no id: everything may be due. */
  #itemsOf(words: readonly string[]): readonly NewsItem[] {
    const items: NewsItem[] = [];
    for (let at = 0; at < words.length; at += 4) {
      const [id = "", due] = [words[at + 1], words[at + 3]];
      if (id !== "") items.push({ id, timestamp: this.#part.time.fromServer(Number(due)) });
    }
    return items;
  }
}

/** What comes of it, or `undefined` when the signal aborts before: that one outlives it, and keeps nothing of it. */
async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T | undefined> {
  const aborted = Promise.withResolvers<undefined>();
  const end = (): void => aborted.resolve(undefined);
  signal.addEventListener("abort", end);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** Where the stream ends: what comes after it is news. */
export async function latest(connection: Connection, base: string): Promise<string> {
  const found = await connection.command("xrevrange", [`${base}:news`, "+", "-", "COUNT", 1]);
  const [entry] = found as [string, string[]][];
  return entry?.[0] ?? "0-0";
}
