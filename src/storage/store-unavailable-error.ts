import { QueueError } from "../mail/queue-error.ts";

/** The store cannot be opened because its server is not there, or not ready: the same start may go well later. */
export class StoreUnavailableError extends QueueError {
  override readonly name = "StoreUnavailableError";
}
