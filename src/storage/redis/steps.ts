import { QueueError } from "../../mail/queue-error.ts";
import type { Argument, Connection } from "./connection.ts";
import { LateError } from "./errors.ts";
import type { Health } from "./health.ts";
import type { ScriptName } from "./lua.ts";

/** Every step that is done in Redis goes through here: errors become ours, and nothing is begun after the end. */
export class Steps {
  readonly #connection: Connection;
  readonly #base: string;
  readonly #health: Health;
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(connection: Connection, base: string, health: Health) {
    this.#connection = connection;
    this.#base = base;
    this.#health = health;
  }

  /** Runs a script; `what` is what cannot be done when it fails. */
  run(what: string, script: ScriptName, args: readonly Argument[]): Promise<unknown> {
    return this.done(what, () => this.#connection.run(script, this.#base, args));
  }

  /** The same for anything else. */
  async done<T>(what: string, begin: () => Promise<T>): Promise<T> {
    this.requireOpen();
    const work = begin();
    this.#running.add(work);
    try {
      return await work;
    } catch (error) {
      throw this.#health.failed(what, error);
    } finally {
      this.#running.delete(work);
    }
  }

  requireOpen(): void {
    if (this.#isClosed) throw new QueueError("the store is closed");
  }

  /** Begins nothing more; resolves when what runs is done. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#running);
  }
}

/** Throws when a script says that it did nothing. */
export function requireDone(answer: unknown): void {
  if (answer === "late") throw new LateError("the server answered too late; nothing was done");
  if (answer === "expired") throw new QueueError("a streamed body waited too long and has expired");
}
