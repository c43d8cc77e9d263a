import type { Daemon } from "../support/binary.ts";
import { until } from "../support/until.ts";

/** Retries soon and on time, never gives mail up for lack of space, and makes no socket outside the test's directory. */
export const QUICK: readonly string[] = [
  ...["--set", "queue.retry=1s", "--set", "queue.jitter=0%"],
  ...["--set", "spool.free_min=0", "--set", "spool.free_min_percent=0%"],
  ...["--set", "admin.socket=off", "--hostname", "queue.example.test"],
];

/** What `/v1/queue` says that tests and benchmarks look at. */
export interface QueueFacts {
  readonly size: number;
  readonly states: Readonly<Record<"incoming" | "active" | "deferred" | "hold", number>>;
  readonly corrupt: number;
  readonly delivering: number;
  readonly connections: { readonly open: number };
  readonly destinations: readonly unknown[];
  readonly refusal: string | null;
  readonly store_requests: Readonly<Record<string, number>> | null;
}

export async function queueOf(daemon: Daemon): Promise<QueueFacts> {
  return (await daemon.adminJson("/v1/queue")) as QueueFacts;
}

/** Waits until nothing is stored any more. */
export async function drained(daemon: Daemon, timeoutMs = 20_000): Promise<void> {
  // A storage in trouble cannot be asked for a moment.
  const isEmpty = async () => (await queueOf(daemon).catch(() => undefined))?.size === 0;
  await until("an empty queue", isEmpty, timeoutMs).catch(async (cause: unknown) => {
    const left = await (await daemon.admin("/v1/messages?recipients=true&format=text")).text();
    throw new Error(`the queue does not empty:\n${left}\n${tail(daemon.output())}`, { cause });
  });
}

/** Waits until so many messages are stored. */
export async function stored(daemon: Daemon, count: number): Promise<void> {
  await until(`${count} stored`, async () => (await queueOf(daemon)).size === count);
}

/** Tries everything now. */
export async function flush(daemon: Daemon): Promise<number> {
  const { flushed } = (await daemon.adminJson("/v1/flush", { method: "POST" })) as {
    flushed: number;
  };
  return flushed;
}

/** The last lines of a long output. */
export function tail(text: string, lines = 40): string {
  return text.split("\n").slice(-lines).join("\n");
}
