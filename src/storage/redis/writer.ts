import type { BodySink } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import { adoptBodies } from "../adopt-bodies.ts";
import { type Batch, openBatch } from "../batch.ts";
import type { FreshMessages } from "../fresh.ts";
import { numbered } from "../message-row.ts";
import { requireStorable } from "../record.ts";
import type { Settlement, Tenure, WriteOptions } from "../storage.ts";
import { openUpload, type Uploads } from "./bodies.ts";
import type { Confirm } from "./confirmation.ts";
import type { Argument } from "./connection.ts";
import type { Doubts } from "./doubts.ts";
import { type Encoded, type Entry, encodeMessages } from "./messages.ts";
import type { QueuePart } from "./part.ts";
import type { SeenRows } from "./seen-rows.ts";
import { requireDone, type Steps } from "./steps.ts";

export interface WriterParts extends QueuePart {
  readonly steps: Steps;
  readonly newId: () => string;
  readonly confirm: Confirm;
  readonly doubts: Doubts;
  readonly fresh: FreshMessages;
  readonly seen: SeenRows;
}

/** Messages as they go into a script, and the uploads that become theirs when it succeeds. */
export interface Packed extends Pick<Encoded, "args" | "rows"> {
  /** They are stored: their uploads are nobody else's to throw away. */
  taken(): void;
  /** In any case: copies that no message took over are thrown away. */
  discard(): Promise<void>;
}

/** Steps of writes under way at once: while the server syncs one, clients wait for the next. */
const LANES = 2;
/** Writes or settlements that share one step, and about how many octets of them. */
export const UNITS_MAX = 256;
export const GROUP_BYTES_MAX: number = 4 * 1024 * 1024;

/** Stores messages and their bodies. */
export class Writer {
  readonly #parts: WriterParts;
  readonly #uploads: Uploads = new WeakMap();
  /** Writes that come together are one script: the server reads a message in several turns and syncs after each. */
  readonly #write: Batch<readonly Argument[], readonly string[]>;

  constructor(parts: WriterParts) {
    const { connection, base, node } = parts;
    this.#parts = parts;
    this.#write = openBatch({
      lanes: LANES,
      itemsMax: UNITS_MAX,
      weightMax: GROUP_BYTES_MAX,
      weigh: bytesOf,
      run: async (units) =>
        (await connection.run("write", base, [node, ...units.flat()])) as string[][],
    });
  }

  openBody(): BodySink {
    this.#parts.steps.requireOpen();
    return openUpload(this.#parts.newId(), this.#parts, this.#uploads);
  }

  /** All of these or none. */
  async write(entries: readonly Entry[], options: WriteOptions): Promise<void> {
    const { doubts } = this.#parts;
    const ids = entries.map(({ id }) => id);
    const packed = await this.pack(entries);
    doubts.settled(ids);
    try {
      await this.#store(entries, packed, options);
    } catch (error) {
      // Only who made the ids for this call knows that nobody else has them.
      if (options.fresh) doubts.add(ids, options.lease?.holder ?? "");
      throw error;
    } finally {
      await packed.discard();
    }
  }

  /** What a script needs to know of messages. Streamed bodies from elsewhere are copied first. */
  async pack(entries: readonly Entry[]): Promise<Packed> {
    const { newId, time } = this.#parts;
    const given = entries.map(({ envelope }) => envelope);
    const adopted = await adoptBodies(given, this.#uploads, async () => this.openBody());
    const own = adopted.envelopes.map((envelope, index): Entry => {
      const { id = "", due = 0, settlement } = entries[index] ?? {};
      requireStorable(id, envelope);
      return { id, due, settlement, envelope: numbered(envelope) };
    });
    const toServer = (instant: number): number => time.toServer(instant);
    const encoded = encodeMessages(own, { uploads: this.#uploads, newName: newId, toServer });
    return {
      ...encoded,
      taken: () => forgetAll(this.#uploads, encoded.uploads),
      discard: adopted.discard,
    };
  }

  async #store(entries: readonly Entry[], packed: Packed, { lease }: WriteOptions): Promise<void> {
    const { deadline, time, confirm, steps } = this.#parts;
    const until = lease === undefined ? 0 : time.toServer(lease.until);
    const unit = [deadline(), lease?.holder ?? "", until, entries.length, ...packed.args];
    const write = () => this.#write.add(unit);
    const [answer, ...versions] = await steps.done("cannot store the message", write);
    requireDone(answer);
    packed.taken();
    await confirm();
    if (lease !== undefined) this.#remember(entries, packed, versions, lease);
  }

  /** What is leased to this node is read and settled by it soon. */
  #remember(
    entries: readonly Entry[],
    { rows }: Packed,
    versions: readonly string[],
    lease: Tenure,
  ): void {
    const { seen, fresh } = this.#parts;
    for (const [index, row] of rows.entries()) {
      const version = versions[index];
      const envelope = entries[index]?.envelope;
      if (!version || envelope === undefined) continue;
      seen.note({ ...row, version, body: null, lease });
      fresh.keep(row.id, numbered(envelope));
    }
  }
}

function forgetAll(uploads: Uploads, bodies: Encoded["uploads"]): void {
  for (const body of bodies) uploads.delete(body);
}

/** About how many octets go to the server with these. */
export function bytesOf(args: readonly Argument[]): number {
  return args.reduce<number>(
    (sum, each) => sum + (each instanceof Uint8Array ? each.length : 0),
    0,
  );
}

/** What is to be written under these ids. */
export function entriesOf(
  ids: readonly string[],
  envelopes: readonly Envelope[],
  due: number,
  settlement?: Settlement,
): readonly Entry[] {
  return envelopes.map((envelope, index) => ({ id: ids[index] ?? "", envelope, due, settlement }));
}
