import { QueueError } from "../../mail/queue-error.ts";
import { reply } from "../../mail/reply.ts";
import type { Connection } from "./connection.ts";
import type { RedisAddress } from "./redis-url.ts";

/** How long others have to say that they have it. */
const WAIT_MS = 2000;

/** Waits until what was written before is where the settings want it: on replicas, or on disks. */
export type Confirm = () => Promise<void>;

/** Those who wait at the same time share one question. */
export function confirmation(
  connection: Connection,
  { replicas, synced }: Pick<RedisAddress, "replicas" | "synced">,
): Confirm {
  let running: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;

  async function ask(): Promise<void> {
    if (replicas > 0) {
      const count = Number(await connection.command("wait", [replicas, WAIT_MS]));
      require(count, replicas, "replicas have it");
    }
    if (synced > 0) {
      const [own = 0, others = 0] = (await connection.command("waitaof", [
        1,
        synced - 1,
        WAIT_MS,
      ])) as number[];
      require(own + others, synced, "servers have it on disk");
    }
  }

  return async () => {
    if (replicas + synced === 0) return;
    next ??= running
      .catch(() => undefined)
      .then(() => {
        running = ask();
        next = undefined;
        return running;
      });
    await next;
  };
}

function require(count: number, wanted: number, what: string): void {
  if (count >= wanted) return;
  const text = `only ${count} of ${wanted} ${what}`;
  throw new QueueError(text, {
    reply: reply(451, "4.3.0", "Queue store unavailable"),
    cause: new Error(text),
  });
}
