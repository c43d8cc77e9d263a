import type { Clock } from "../../lib/world.ts";
import { QueueError } from "../../mail/queue-error.ts";
import type { Connection } from "./connection.ts";
import { storeError, troubleOf } from "./errors.ts";

/** How often a server in trouble is asked whether it is well again. */
const ASK_MS = 1000;
/** How often one that is well is asked whether it still promises what it did: it can be set up anew while it runs. */
const WATCH_MS = 60_000;
const PROBE_TTL_MS = 60_000;

/** Whether mail can be stored (P7), and why not. */
export interface Health {
  /** As `QueueStorage.refusal`. */
  refusal(): string | undefined;
  /** As `QueueStorage.probe`. */
  probe(): Promise<void>;
  /** The server is back; it may be another one, set up in another way. Never rejects. */
  back(): Promise<void>;
  /** A step failed; what it failed with, for the caller to throw. */
  failed(what: string, error: unknown): Error;
  stop(): void;
}

export interface HealthParts {
  readonly connection: Connection;
  readonly base: string;
  readonly clock: Clock;
  readonly confirm: () => Promise<void>;
  /** Why mail would not be safe where it went, as the server says itself; `undefined` when it would. */
  readonly complaint: () => Promise<string | undefined>;
}

/** One error such as "out of memory" stands for all that would follow, until a small write works again. */
export function openHealth(parts: HealthParts): Health {
  const { connection, base, clock, confirm, complaint } = parts;
  let trouble: string | undefined;
  let unsafe: string | undefined;
  let cancel = (): void => undefined;
  let isStopped = false;

  async function write(): Promise<void> {
    await connection.command("set", [`${base}:probe`, "1", "PX", PROBE_TTL_MS]);
    await confirm();
  }

  function askLater(): void {
    cancel();
    const ms = (unsafe ?? trouble) === undefined ? WATCH_MS : ASK_MS;
    if (!isStopped) cancel = clock.after(ms, () => void ask());
  }

  async function ask(): Promise<void> {
    try {
      unsafe = await complaint();
      await write();
      trouble = undefined;
    } catch (error) {
      trouble = troubleOf(error) ?? trouble;
    }
    askLater();
  }

  askLater();
  return {
    refusal: () => connection.down ?? unsafe ?? trouble,
    back: ask,
    async probe() {
      if (unsafe !== undefined) throw new QueueError(unsafe);
      try {
        await write();
        trouble = undefined;
      } catch (error) {
        throw this.failed("the store cannot be written", error);
      }
    },
    failed(what, error) {
      const found = troubleOf(error);
      if (found !== undefined && trouble === undefined) {
        trouble = found;
        askLater();
      }
      return storeError(what, error);
    },
    stop() {
      isStopped = true;
      cancel();
    },
  };
}
