import { corruptKey, mailKey } from "./keys.ts";
import type { CloudPart } from "./part.ts";

/**
 * Copies a damaged message to `corrupt/` with a note, and takes it out of the queue. Its body, when that is an object of its
 * own, stays where it is.
 */
export async function moveAside(part: CloudPart, id: string, reason: string): Promise<void> {
  const { objects, removals, world, emit } = part;
  const copy = corruptKey(id, "mail");
  const upload = objects.upload(copy);
  try {
    for await (const chunk of objects.stream(mailKey(id), 0)) await upload.write(chunk);
    await upload.end();
  } catch (error) {
    await upload.abort();
    // Somebody else has moved it or ended it meanwhile.
    if ((await objects.get(mailKey(id), { start: 0, end: 1 })) === undefined) return;
    throw error;
  }
  const note = { id, reason, at: new Date(world.clock.now()).toISOString() };
  await objects.put(corruptKey(id, "note"), new TextEncoder().encode(JSON.stringify(note)));
  await removals.remove(mailKey(id));
  emit({ kind: "corrupt", subject: id, movedTo: copy, reason });
}
