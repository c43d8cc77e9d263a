import type { QueueStorage } from "../../src/storage/storage.ts";

export type Operation = keyof QueueStorage;

/** A storage that fails or stalls as told, and counts what it is asked. */
export interface FaultyStorage {
  readonly storage: QueueStorage;
  /** How often an operation was called. */
  calls(operation: Operation): number;
  /** From now on an operation throws, with nothing done, when `when` says so of its first argument. */
  fail(operation: Operation, error?: Error, when?: (first: unknown) => boolean): void;
  /** Like `fail`, but the operation is done first: its answer is lost. */
  failAfter(operation: Operation, error?: Error, when?: (first: unknown) => boolean): void;
  heal(operation: Operation): void;
  /** From now on an operation does not begin before the returned function is called. */
  stall(operation: Operation): () => void;
  /** From now on an operation is done at once, and its answer comes when the returned function is called. */
  stallAfter(operation: Operation): () => void;
}

interface Fault {
  readonly error: Error;
  readonly when: (first: unknown) => boolean;
  readonly isAfter: boolean;
}

export function faultyStorage(inner: QueueStorage): FaultyStorage {
  const counts = new Map<Operation, number>();
  const faults = new Map<Operation, Fault>();
  const stalls = new Map<Operation, Promise<void>>();
  const stallsAfter = new Map<Operation, Promise<void>>();

  async function call(operation: Operation, run: () => unknown, first: unknown): Promise<unknown> {
    await stalls.get(operation);
    const fault = faults.get(operation);
    if (fault?.when(first)) {
      if (fault.isAfter) await run();
      throw fault.error;
    }
    const answer = await run();
    await stallsAfter.get(operation);
    return answer;
  }

  const passed = new Set<PropertyKey>(["load", "wait", "refusal"]);
  const storage = new Proxy(inner, {
    get(target, property: Operation) {
      const method: unknown = Reflect.get(target, property);
      if (typeof method !== "function") return method;
      if (passed.has(property)) return method.bind(target);
      return (...parameters: readonly unknown[]) => {
        counts.set(property, (counts.get(property) ?? 0) + 1);
        return call(property, () => method.apply(target, parameters), parameters[0]);
      };
    },
  });
  return {
    storage,
    calls: (operation) => counts.get(operation) ?? 0,
    fail(operation, error = new Error("EIO"), when = () => true) {
      faults.set(operation, { error, when, isAfter: false });
    },
    failAfter(operation, error = new Error("EIO"), when = () => true) {
      faults.set(operation, { error, when, isAfter: true });
    },
    heal: (operation) => void faults.delete(operation),
    stall: (operation) => stallIn(stalls, operation),
    stallAfter: (operation) => stallIn(stallsAfter, operation),
  };
}

function stallIn(stalls: Map<Operation, Promise<void>>, operation: Operation): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  stalls.set(operation, promise);
  return () => {
    stalls.delete(operation);
    resolve();
  };
}
