import { corruptKey, mailKey, stateKey } from "./keys.ts";
import type { CloudPart } from "./part.ts";

/**
 * Copies a damaged message to `corrupt/` with a note, and takes it out of the queue. Its body, when that is an object of its
 * own, stays where it is.
 */
export async function moveAside(part: CloudPart, id: string, reason: string): Promise<void> {
  const { objects, removals } = part;
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
  await tell(part, { id, copy, reason });
  await removals.remove(mailKey(id));
}

/**
 * The same for the state of this name, ID.BORN. It is told if its message was not: then it is the one of several messages that
 * were stored together, and has those of them that are not there yet.
 */
export async function moveStateAside(part: CloudPart, name: string, reason: string): Promise<void> {
  const { objects, removals } = part;
  const found = await objects.get(stateKey(name));
  if (found === undefined) return;
  const copy = corruptKey(name, "state");
  await objects.put(copy, found.bytes);
  const [id = ""] = name.split(".");
  const isTold = (await objects.get(corruptKey(id, "note"))) !== undefined;
  if (!isTold) await tell(part, { id: name, copy, reason });
  await removals.remove(stateKey(name));
}

interface Moved {
  readonly id: string;
  readonly copy: string;
  readonly reason: string;
}

async function tell({ objects, world, emit }: CloudPart, { id, copy, reason }: Moved) {
  const note = { id, reason, at: new Date(world.clock.now()).toISOString() };
  await objects.put(corruptKey(id, "note"), new TextEncoder().encode(JSON.stringify(note)));
  emit({ kind: "corrupt", subject: id, movedTo: copy, reason });
}
