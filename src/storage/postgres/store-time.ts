import type { Clock } from "../../lib/world.ts";

/**
 * What time it is for leases: the database's own clock at this very moment, one for all nodes, so that a node whose clock is
 * wrong neither takes mail from others nor keeps it for ever. A lease goes to the database as a duration.
 */
export interface StoreTime {
  /** The SQL for milliseconds since the epoch; `parameter` is one to which `now()` is given. */
  sql(parameter: string): string;
  now(): number | null;
  /** How long it is until this instant of the node's clock. */
  left(until: number): number;
}

/** The database's time; with `isSimulated` the node's own, for tests whose time stands still. */
export function storeTime(clock: Clock, isSimulated: boolean): StoreTime {
  return {
    sql: (parameter) =>
      `coalesce(${parameter}::float8, extract(epoch FROM statement_timestamp())::float8 * 1000)`,
    now: () => (isSimulated ? clock.now() : null),
    left: (until) => until - clock.now(),
  };
}
