/** A broken invariant: our own bug, never an operating error. The process ends with exit code 70. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** States what must hold. Operating errors are handled, broken invariants stop the process. */
export function assert(holds: boolean, invariant: string): asserts holds {
  if (!holds) throw new InvariantError(`broken invariant: ${invariant}`);
}

/** Makes a switch over a union exhaustive: a member that nobody handles does not compile here. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable value: ${JSON.stringify(value)}`);
}
