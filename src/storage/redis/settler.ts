import { QueueError } from "../../mail/queue-error.ts";
import { type Batch, openBatch } from "../batch.ts";
import { EPOCH_FIRST, type MessageRow, settledRow } from "../message-row.ts";
import { LostLeaseError, NotFoundError, type Settlement, type SettleOptions } from "../storage.ts";
import type { Argument } from "./connection.ts";
import type { Reader } from "./reader.ts";
import type { SeenRow } from "./rows.ts";
import { requireDone } from "./steps.ts";
import {
  bytesOf,
  entriesOf,
  GROUP_BYTES_MAX,
  type Packed,
  UNITS_MAX,
  type Writer,
  type WriterParts,
} from "./writer.ts";

/** A row that others change all the time is tried this often; each failure means that somebody else succeeded. */
const TRIES_MAX = 100;

export interface SettlerParts extends WriterParts {
  readonly reader: Reader;
  readonly writer: Writer;
}

/**
 * Changes messages by what becomes of them. The change is worked out here, by the same function as for every engine, and
 * made by a script that does nothing when the row is not the one any more that it was worked out from.
 */
export class Settler {
  readonly #parts: SettlerParts;
  /** What comes together is one script, as with writes. */
  readonly #settle: Batch<readonly Argument[], string>;

  constructor(parts: SettlerParts) {
    const { connection, base, node, time } = parts;
    this.#parts = parts;
    this.#settle = openBatch({
      lanes: 1,
      itemsMax: UNITS_MAX,
      weightMax: GROUP_BYTES_MAX,
      weigh: bytesOf,
      run: async (units) =>
        (await connection.run("settle", base, [node, time.now(), ...units.flat()])) as string[],
    });
  }

  /** Settles what `make` says of the row; resolves with the row as it was. As `QueueStorage.settle`. */
  async change(
    id: string,
    make: (row: MessageRow) => Settlement,
    { holder = "", bounces = [] }: SettleOptions = {},
  ): Promise<MessageRow> {
    const { writer, confirm, fresh, world } = this.#parts;
    const ids = bounces.map((bounce) => bounce.id);
    const envelopes = bounces.map(({ envelope }) => envelope);
    const packed = await writer.pack(entriesOf(ids, envelopes, world.clock.now()));
    try {
      const before = await this.#untilSettled(id, make, holder, packed);
      packed.taken();
      await confirm();
      return before;
    } finally {
      fresh.drop(id);
      await packed.discard();
    }
  }

  async #untilSettled(
    id: string,
    make: (row: MessageRow) => Settlement,
    holder: string,
    packed: Packed,
  ): Promise<MessageRow> {
    const { seen, reader } = this.#parts;
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const row = seen.get(id) ?? (await reader.row(id));
      seen.forget(id);
      if (await this.#try(row, make(row), holder, packed)) return row;
    }
    throw new QueueError(`message ${id} changes faster than it can be settled`);
  }

  /** False: the row has changed meanwhile. */
  async #try(
    row: SeenRow,
    settlement: Settlement,
    holder: string,
    packed: Packed,
  ): Promise<boolean> {
    const { deadline, time, steps } = this.#parts;
    const { id, version } = row;
    const due = settlement.due === undefined ? "" : time.toServer(settlement.due);
    const held = settlement.held === undefined ? "" : Number(settlement.held);
    const change = [...changeOf(settledRow(row, settlement, EPOCH_FIRST), due), held];
    const bounces = [packed.rows.length, ...packed.args];
    const unit = [deadline(), id, holder, version, ...change, ...bounces];
    const answer = await steps.done("cannot settle", () => this.#settle.add(unit));
    if (answer === "gone") throw new NotFoundError(`no message ${id}`);
    if (answer === "lost") throw new LostLeaseError(`message ${id} is not leased to ${holder}`);
    requireDone(answer);
    return answer === "ok";
  }
}

/** Whether it ends, attempts, domain, progress and the next attempt, as the script wants them. */
function changeOf(next: MessageRow | null, due: Argument): readonly Argument[] {
  if (next === null) return [1, 0, "", "", ""];
  return [0, next.attempts, next.domain, next.state ?? "", due];
}
