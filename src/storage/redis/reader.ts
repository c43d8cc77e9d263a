import { contentSize } from "../../mail/content.ts";
import type { Envelope } from "../../mail/envelope.ts";
import type { Emit } from "../../observe/events.ts";
import { type Batch, openBatch } from "../batch.ts";
import type { FreshMessages } from "../fresh.ts";
import { storedMessage } from "../message-row.ts";
import { CorruptError, NotFoundError, type StoredMessage } from "../storage.ts";
import { DamagedError } from "../store-error.ts";
import { storedBody } from "./bodies.ts";
import type { QueuePart } from "./part.ts";
import { readRecord } from "./record.ts";
import { ROW_FIELDS, readRow, type SeenRow } from "./rows.ts";
import type { SeenRows } from "./seen-rows.ts";
import type { Steps } from "./steps.ts";

export interface ReaderParts extends QueuePart {
  readonly steps: Steps;
  readonly fresh: FreshMessages;
  readonly seen: SeenRows;
  readonly emit: Emit;
}

/** Rows that are read in one step. */
const ROWS_MAX = 256;
const NO_ROW = "its row cannot be read";

/** Reads messages, and moves aside what is damaged (P6). */
export class Reader {
  readonly #parts: ReaderParts;
  readonly #row: Batch<string, readonly unknown[]>;

  constructor(parts: ReaderParts) {
    const { connection, base } = parts;
    this.#parts = parts;
    this.#row = openBatch({
      lanes: 1,
      itemsMax: ROWS_MAX,
      weightMax: ROWS_MAX,
      weigh: () => 1,
      run: async (ids) =>
        (await connection.run("rows", base, [
          ...[ROW_FIELDS.length, ...ROW_FIELDS],
          ...ids,
        ])) as unknown[][],
    });
  }

  /** As `QueueStorage.get`. */
  async message(id: string): Promise<StoredMessage> {
    const { base, fresh, steps, connection } = this.#parts;
    const known = fresh.get(id);
    // Its content is as it was, but others may have changed its state.
    if (known !== undefined) return withLease(await this.row(id), known);
    const read = () => connection.runForBytes("read", base, [id, ...ROW_FIELDS]);
    const [fields, record] = (await steps.done("cannot read the message", read)) as unknown[];
    const row = await this.#rowOf(id, fields as readonly unknown[]);
    try {
      return withLease(row, await this.#envelope(row, record));
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      await this.moveAside(id, error.message);
      throw new CorruptError(`message ${id} is damaged: ${error.message}`, { cause: error });
    }
  }

  /** The row as it is at this moment. Unknown id: `NotFoundError`. */
  async row(id: string): Promise<SeenRow> {
    const ask = () => this.#row.add(id);
    const fields = await this.#parts.steps.done("cannot read the message", ask);
    return await this.#rowOf(id, fields);
  }

  /** The rows of a page that can be read; the others are moved aside. */
  async sound(rows: readonly (SeenRow | string)[]): Promise<readonly SeenRow[]> {
    const sound: SeenRow[] = [];
    for (const row of rows) {
      if (typeof row === "string") await this.moveAside(row, NO_ROW);
      else sound.push(this.#here(row));
    }
    return sound;
  }

  /** P6: the damaged message leaves the queue, stays readable under `{p}:x:`, is counted and told. */
  async moveAside(id: string, reason: string): Promise<void> {
    const { base, emit, world, steps } = this.#parts;
    this.#forget(id);
    const at = new Date(world.clock.now()).toISOString();
    const moved = await steps.run("cannot move aside", "moveAside", [id, reason, at]);
    if (Number(moved) === 0) return;
    emit({ kind: "corrupt", subject: id, movedTo: `${base}:x:m:${id}`, reason });
  }

  async #rowOf(id: string, fields: readonly unknown[]): Promise<SeenRow> {
    const row = readRow(id, fields);
    if (row === null) {
      this.#forget(id);
      throw new NotFoundError(`no message ${id}`);
    }
    if (row === undefined) {
      await this.moveAside(id, NO_ROW);
      throw new CorruptError(`message ${id} is damaged: ${NO_ROW}`);
    }
    const here = this.#here(row);
    this.#parts.seen.note(here);
    return here;
  }

  async #envelope({ id, body, size }: SeenRow, record: unknown): Promise<Envelope> {
    if (!(record instanceof Uint8Array)) throw new DamagedError("its record is missing");
    const elsewhere = (length: number) =>
      storedBody(this.#parts, body ?? "", length, (error) => this.moveAside(id, error.message));
    const envelope = await readRecord(id, record, body === null ? undefined : elsewhere);
    if (contentSize(envelope.content) !== size) throw new DamagedError("it has another size");
    return envelope;
  }

  #here(row: SeenRow): SeenRow {
    const { time } = this.#parts;
    const { lease } = row;
    return {
      ...row,
      due: time.fromServer(row.due),
      lease: lease && { ...lease, until: time.fromServer(lease.until) },
    };
  }

  #forget(id: string): void {
    this.#parts.fresh.drop(id);
    this.#parts.seen.forget(id);
  }
}

function withLease(row: SeenRow, envelope: Envelope): StoredMessage {
  const message = storedMessage(row, envelope);
  return row.lease === null ? message : { ...message, lease: row.lease };
}
