import { QueueError } from "../../mail/queue-error.ts";
import type { Emit } from "../../observe/events.ts";
import { StoreConfigError } from "../store-config-error.ts";
import type { Connection } from "./connection.ts";
import { checkPromises } from "./promises.ts";
import { type RedisAddress, shownRedisUrl } from "./redis-url.ts";

/** What a server promises, as it may change under us: somebody sets it up anew, or another one takes its place. */
export interface PromiseWatch {
  /** Rejects with `StoreConfigError` where a `250` would not be safe and nobody said that this is wanted. */
  start(): Promise<void>;
  /**
   * The same while it runs: why no mail may be stored, `undefined` when it may. Operators are told when that changes. Rejects
   * when the server does not answer.
   */
  check(): Promise<string | undefined>;
}

export interface WatchedServer {
  readonly connection: Connection;
  readonly address: RedisAddress;
  readonly emit: Emit;
}

/** Reads the promises of a server, and tells what they lack once, not each time that they are read. */
export function watchPromises({ connection, address, emit }: WatchedServer): PromiseWatch {
  const where = shownRedisUrl(address);
  let warning = "";
  let isRefused = false;

  function warn(found: readonly string[]): void {
    const lacking = found.join("; ");
    if (lacking === warning) return;
    warning = lacking;
    const words = lacking === "" ? " keeps mail safe again" : ` MAY LOSE MAIL: ${lacking}`;
    emit({ kind: "lifecycle", what: "warning", text: `${where}${words}` });
  }

  function refuse(reason: string | undefined): void {
    if (isRefused === (reason !== undefined)) return;
    isRefused = !isRefused;
    const state = isRefused ? "failing" : "recovered";
    emit({ kind: "storage", state, operation: "accept", reason: reason ?? "" });
  }

  return {
    async start() {
      warn(await checkPromises(connection, address, where));
    },
    async check() {
      // A cluster that is down has nobody who could lack anything.
      if (connection.down !== undefined) throw new QueueError(connection.down);
      try {
        // Clients hear of it too, and need not know where it is.
        warn(await checkPromises(connection, address, "the server"));
        refuse(undefined);
        return undefined;
      } catch (error) {
        if (!(error instanceof StoreConfigError)) throw error;
        refuse(error.message);
        return error.message;
      }
    },
  };
}
