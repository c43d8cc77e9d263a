import type { World } from "../../lib/world.ts";
import type { ServerClock } from "../server-clock.ts";
import type { Connection } from "./connection.ts";

/** What everything here works with: one queue in one Redis, as one node sees it. */
export interface QueuePart {
  readonly connection: Connection;
  /** `{prefix}`: what all keys begin with. */
  readonly base: string;
  readonly time: ServerClock;
  readonly world: World;
  /** This node among those that share the queue. */
  readonly node: string;
  /** After which instant of the server a step is not to be done any more, as an argument; `0` for never. */
  readonly deadline: () => number;
}
