import type { World } from "../../lib/world.ts";
import type { Emit } from "../../observe/events.ts";
import type { Epoch } from "./epoch.ts";
import type { Marks } from "./marks.ts";
import type { Objects } from "./objects.ts";
import type { Removals } from "./removals.ts";
import type { Change } from "./state-object.ts";
import type { StoreTime } from "./store-time.ts";
import type { WakeUp } from "./wake-up.ts";

/** What everything here works with: one queue in one object store, as one node sees it. */
export interface CloudPart {
  readonly objects: Objects;
  readonly removals: Removals;
  readonly marks: Marks;
  readonly epoch: Epoch;
  readonly time: StoreTime;
  readonly world: World;
  readonly emit: Emit;
  readonly wakeUp: WakeUp | undefined;
  /** Never the same twice, whichever node asks. */
  readonly newId: () => string;
}

/** What a change of a state needs to know, at this moment. */
export function changeNow({ time, epoch, newId }: CloudPart): Change {
  return { now: time.now(), token: newId(), epoch: epoch.current };
}
