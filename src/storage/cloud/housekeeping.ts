import type { World } from "../../lib/world.ts";
import { IdSieve } from "./id-sieve.ts";
import { BODY, bodyKey, corruptKey, DUE, MAIL, mailKey, refsOf } from "./keys.ts";
import { dueFrom, HELD_AT, type Marker, parseMarker } from "./marker.ts";
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
  /** Drops a marker that says nothing true any more. */
  readonly judge: (marker: Marker) => Promise<void>;
  /** Puts the marker of a message again. */
  readonly remark: (id: string) => Promise<void>;
}

export interface Housekeeping {
  /** Looks now for what no message has. */
  sweep(): Promise<void>;
  stop(): void;
}

/** Looks for what crashes have left every few hours. It may fail: there is a next time. */
export function startHousekeeping(parts: HousekeepingParts): Housekeeping {
  const { clock, random } = parts.world;
  let isStopped = false;
  let cancel = (): void => undefined;

  async function sweep(): Promise<void> {
    await sweepHeld(parts);
    await sweepBodies(parts);
    await sweepMail(parts);
  }

  function schedule(): void {
    if (isStopped) return;
    cancel = clock.after(ROUND_MS * (0.5 + random()), () => {
      void sweep()
        .catch(() => undefined)
        .then(schedule);
    });
  }

  schedule();
  return {
    sweep,
    stop() {
      isStopped = true;
      cancel();
    },
  };
}

/** Markers of held messages never come due: those that nobody needs any more are looked for. */
async function sweepHeld({ objects, time, judge }: Omit<HousekeepingParts, "world">) {
  for await (const page of objects.pages(DUE, dueFrom(HELD_AT))) {
    const old = page.objects.filter(({ storedAt }) => time.now() - storedAt > OLD_MS);
    for (const { key } of old) {
      const marker = parseMarker(key);
      if (marker !== undefined) await judge(marker);
    }
  }
}

/**
 * A message that has no marker is never due. None loses it by any way known; but objects can be lost, or come back out of a copy
 * without the others.
 */
async function sweepMail({ objects, time, world, remark }: HousekeepingParts): Promise<void> {
  const scheduled = new IdSieve(world.random);
  for await (const page of objects.pages(DUE)) {
    for (const { key } of page.objects) scheduled.note(parseMarker(key)?.id ?? "");
  }
  for await (const page of objects.pages(MAIL)) {
    for (const { key, storedAt } of page.objects) {
      const id = key.slice(MAIL.length);
      const isOld = time.now() - storedAt > OLD_MS;
      if (isOld && !scheduled.mayHave(id)) await remark(id);
    }
  }
}

/** Removes old bodies of which no message is left, one by one. */
async function sweepBodies({ objects, time }: Pick<HousekeepingParts, "objects" | "time">) {
  for await (const page of objects.pages(BODY)) {
    for (const { key, storedAt } of page.objects) {
      if (time.now() - storedAt < OLD_MS) continue;
      await sweepBody(objects, key.slice(BODY.length));
    }
  }
}

async function sweepBody(objects: Objects, body: string): Promise<void> {
  for await (const page of objects.pages(refsOf(body))) {
    for (const { key } of page.objects) {
      const id = key.slice(refsOf(body).length);
      // What was moved aside can be read for as long as an operator keeps it.
      for (const mail of [mailKey(id), corruptKey(id, "mail")]) {
        if ((await objects.get(mail, { start: 0, end: 1 })) !== undefined) return;
      }
      await objects.remove([key]);
    }
  }
  await objects.remove([bodyKey(body)]);
}
