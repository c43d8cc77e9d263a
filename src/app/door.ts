import type { FrontDoor } from "../edge/accept.ts";
import { QueueError } from "../mail/queue-error.ts";
import type { Emit } from "../observe/events.ts";
import type { Queue } from "../queue/queue.ts";
import type { QueueStorage } from "../storage/storage.ts";

/**
 * The queue as edges see it. Clients are told little of a storage that fails; the log hears why, once when it begins and
 * once when mail can be stored again.
 */
export function frontDoor(
  queue: Pick<Queue, "enqueue">,
  storage: Pick<QueueStorage, "openBody" | "refusal">,
  emit: Emit,
): FrontDoor {
  let isFailing = false;
  async function told<T>(operation: () => Promise<T>): Promise<T> {
    try {
      const result = await operation();
      if (isFailing) emit({ kind: "storage", state: "recovered", operation: "accept", reason: "" });
      isFailing = false;
      return result;
    } catch (error) {
      // Without a cause it was a policy that refused the message.
      if (error instanceof QueueError && error.cause !== undefined && !isFailing) {
        isFailing = true;
        emit({ kind: "storage", state: "failing", operation: "accept", reason: reasonOf(error) });
      }
      throw error;
    }
  }
  return {
    accept: (envelope) => told(() => queue.enqueue(envelope)),
    openBody: () => storage.openBody(),
    refusal: () => storage.refusal(),
  };
}

function reasonOf({ message, cause }: QueueError): string {
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
