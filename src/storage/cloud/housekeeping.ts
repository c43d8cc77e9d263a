import type { World } from "../../lib/world.ts";
import { BODY, bodyKey, mailKey, refsOf } from "./keys.ts";
import type { Objects } from "./objects.ts";
import type { StoreTime } from "./store-time.ts";

/** How often a node looks for what crashes have left: some hours, each node at another time. */
const ROUND_MS = 4 * 60 * 60_000;
/** What is younger may be in use. */
const OLD_MS = 24 * 60 * 60_000;

export interface HousekeepingParts {
  readonly objects: Objects;
  readonly time: StoreTime;
  readonly world: World;
}

/** Looks for bodies that no message has. It may fail: there is a next time. Gives what stops it. */
export function startHousekeeping(parts: HousekeepingParts): () => void {
  const { clock, random } = parts.world;
  let isStopped = false;
  let cancel = (): void => undefined;
  const schedule = (): void => {
    if (isStopped) return;
    cancel = clock.after(ROUND_MS * (0.5 + random()), () => {
      void sweepBodies(parts)
        .catch(() => undefined)
        .then(schedule);
    });
  };
  schedule();
  return () => {
    isStopped = true;
    cancel();
  };
}

/** Removes old bodies of which no message is left, one by one; resolves with how many that were. */
export async function sweepBodies({ objects, time }: Omit<HousekeepingParts, "world">) {
  let count = 0;
  for await (const page of objects.pages(BODY)) {
    for (const { key, storedAt } of page.objects) {
      if (time.now() - storedAt < OLD_MS) continue;
      if (await sweepBody(objects, key.slice(BODY.length))) count += 1;
    }
  }
  return count;
}

async function sweepBody(objects: Objects, body: string): Promise<boolean> {
  for await (const page of objects.pages(refsOf(body))) {
    for (const { key } of page.objects) {
      const id = key.slice(refsOf(body).length);
      if ((await objects.get(mailKey(id), { start: 0, end: 1 })) !== undefined) return false;
      await objects.remove([key]);
    }
  }
  await objects.remove([bodyKey(body)]);
  return true;
}
