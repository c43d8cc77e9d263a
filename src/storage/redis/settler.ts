import { QueueError } from "../../mail/queue-error.ts";
import { EPOCH_FIRST, type MessageRow, settledRow } from "../message-row.ts";
import { LostLeaseError, NotFoundError, type Settlement, type SettleOptions } from "../storage.ts";
import type { Argument } from "./connection.ts";
import type { Reader } from "./reader.ts";
import type { SeenRow } from "./rows.ts";
import { requireDone } from "./steps.ts";
import { entriesOf, type Packed, type Writer, type WriterParts } from "./writer.ts";

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

  constructor(parts: SettlerParts) {
    this.#parts = parts;
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
    const { deadline, node, time, steps } = this.#parts;
    const { id, version } = row;
    const due = settlement.due === undefined ? "" : time.toServer(settlement.due);
    const held = settlement.held === undefined ? "" : Number(settlement.held);
    const change = [...changeOf(settledRow(row, settlement, EPOCH_FIRST), due), held];
    const args = [deadline(), node, time.now(), id, holder, version, ...change, ...packed.args];
    const [answer] = (await steps.run("cannot settle", "settle", args)) as string[];
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
