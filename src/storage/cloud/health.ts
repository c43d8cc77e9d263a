import type { Clock } from "../../lib/world.ts";
import { QueueError } from "../../mail/queue-error.ts";
import { storeError } from "../store-error.ts";

/** How often a store in trouble is asked whether it is well again. */
const ASK_MS = 1000;

/** Whoever asks whether the store is well hears something after so long, though a request may be tried for longer. */
const PROBE_MS = 3000;

/** Whether mail can be stored (P7), and why not. */
export interface Health {
  /** As `QueueStorage.refusal`. */
  refusal(): string | undefined;
  /** As `QueueStorage.probe`. */
  probe(): Promise<void>;
  /** A request failed; what it failed with, for the caller to throw. */
  failed(what: string, error: unknown): QueueError;
  /** The same where the store may be well: some answer so to whoever lost a race. It is asked before it counts as in trouble. */
  doubted(what: string, error: unknown): QueueError;
  /** Called when the store is well again. */
  onBack(tell: () => void): void;
  stop(): void;
}

/** One request that failed stands for all that would follow, until `write`, a small one, works again. */
export function openHealth(clock: Clock, write: () => Promise<unknown>): Health {
  const listeners: (() => void)[] = [];
  let trouble: string | undefined;
  let isStopped = false;
  let isAsking = false;
  let cancel: (() => void) | undefined;

  async function ask(): Promise<void> {
    if (isAsking) return;
    isAsking = true;
    try {
      await write();
      recover();
    } catch (error) {
      trouble = textOf(error);
      askLater();
    } finally {
      isAsking = false;
    }
  }

  function askLater(): void {
    cancel?.();
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
      const asked = write().then(recover, (error: unknown) => {
        throw this.failed("the store cannot be written", error);
      });
      // Who is slow is not in trouble yet.
      await inTime(clock, asked, () => trouble);
    },
    failed(what, error) {
      if (trouble === undefined) {
        trouble = textOf(error);
        askLater();
      }
      return toldAs(what, error);
    },
    doubted(what, error) {
      if (trouble === undefined && !isStopped) void ask();
      return toldAs(what, error);
    },
    onBack: (tell) => void listeners.push(tell),
    stop() {
      isStopped = true;
      cancel?.();
    },
  };
}

function toldAs(what: string, error: unknown): QueueError {
  if (!(error instanceof QueueError)) return storeError(what, error);
  const { message, reply } = error;
  return new QueueError(`${what}: ${message}`, { cause: error, ...(reply && { reply }) });
}

async function inTime(
  clock: Clock,
  work: Promise<void>,
  known: () => string | undefined,
): Promise<void> {
  const late = Promise.withResolvers<never>();
  const cancel = clock.after(PROBE_MS, () => {
    const text = `the object store gave no answer in ${PROBE_MS / 1000} seconds`;
    late.reject(new QueueError(known() ?? text));
  });
  try {
    await Promise.race([work, late.promise]);
  } finally {
    cancel();
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
