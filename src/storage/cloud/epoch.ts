import { QueueError } from "../../mail/queue-error.ts";
import { EPOCH_FIRST } from "../message-row.ts";
import { DamagedError } from "../store-error.ts";
import { decodeFrame, encodeFrame } from "./frame.ts";
import { EPOCH_KEY } from "./keys.ts";
import type { Objects } from "./objects.ts";

const FORMAT = "SQE1";
const NOTHING = new Uint8Array(0);
const TRIES_MAX = 20;

/** Which flush was the last, for all nodes: an object that each flush replaces. */
export class Epoch {
  readonly #objects: Objects;
  #current = EPOCH_FIRST;

  constructor(objects: Objects) {
    this.#objects = objects;
  }

  /** As far as this node knows. */
  get current(): number {
    return this.#current;
  }

  async read(): Promise<number> {
    await this.#read();
    return this.#current;
  }

  /** Starts another; when somebody else does at the same time, that one is as good. */
  async advance(): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const version = await this.#read();
      const epoch = this.#current;
      const bytes = encodeFrame(FORMAT, { epoch: epoch + 1 }, NOTHING);
      const condition = version === undefined ? "absent" : { version };
      const written = await this.#objects.put(EPOCH_KEY, bytes, condition).catch(() => undefined);
      if (written === undefined) await this.#read();
      else this.#note(epoch + 1);
      if (this.#current > epoch) return;
    }
    throw new QueueError("others flush faster than this one can");
  }

  /** Resolves with the version of the object. */
  async #read(): Promise<string | undefined> {
    const object = await this.#objects.get(EPOCH_KEY);
    const epoch = object === undefined ? this.#current : epochOf(object.bytes, this.#current);
    this.#note(epoch);
    return object?.version;
  }

  #note(epoch: number): void {
    this.#current = Math.max(this.#current, epoch);
  }
}

/** One that is damaged counts as the one that this node knew: the next flush writes it anew. */
function epochOf(bytes: Uint8Array, known: number): number {
  try {
    const { epoch } = decodeFrame(FORMAT, bytes).facts as { readonly epoch: unknown };
    return typeof epoch === "number" && Number.isSafeInteger(epoch) ? epoch : known;
  } catch (error) {
    if (error instanceof DamagedError) return known;
    throw error;
  }
}
