import type { Clock } from "../../lib/world.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { storeError } from "../store-error.ts";

/** How often a store in trouble is asked whether it is well again. */
const ASK_MS = 1000;

/** Whether mail can be stored (P7), and why not. */
export interface Health {
  /** As `QueueStorage.refusal`. */
  refusal(): string | undefined;
  /** As `QueueStorage.probe`. */
  probe(): Promise<void>;
  /** A request failed; what it failed with, for the caller to throw. */
  failed(what: string, error: unknown): QueueError;
  /** Called when the store is well again. */
  onBack(tell: () => void): void;
  stop(): void;
}

/** One request that failed stands for all that would follow, until `write`, a small one, works again. */
export function openHealth(clock: Clock, write: () => Promise<unknown>): Health {
  const listeners: (() => void)[] = [];
  let trouble: string | undefined;
  let isStopped = false;
  let cancel: (() => void) | undefined;

  async function ask(): Promise<void> {
    try {
      await write();
      recover();
    } catch (error) {
      trouble = textOf(error);
      askLater();
    }
  }

  function askLater(): void {
    if (!isStopped) cancel = clock.after(ASK_MS, () => void ask());
  }

  function recover(): void {
    if (trouble === undefined) return;
    trouble = undefined;
    cancel?.();
    for (const tell of listeners) tell();
  }

  return {
    refusal: () => trouble,
    async probe() {
      try {
        await write();
        recover();
      } catch (error) {
        throw this.failed("the store cannot be written", error);
      }
    },
    failed(what, error) {
      if (trouble === undefined) {
        trouble = textOf(error);
        askLater();
      }
      return error instanceof QueueError
        ? new QueueError(`${what}: ${error.message}`, {
            cause: error,
            ...(error.reply && { reply: error.reply }),
          })
        : storeError(what, error);
    },
    onBack: (tell) => void listeners.push(tell),
    stop() {
      isStopped = true;
      cancel?.();
    },
  };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
