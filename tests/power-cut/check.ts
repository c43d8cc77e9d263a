import * as fs from "node:fs";
import { dirname, join } from "node:path";
import type { Event } from "../../src/observe/events.ts";
import { realFiles, type SpoolFiles } from "../../src/storage/disk/files.ts";
import { fsckSpool } from "../../src/storage/disk/fsck.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import { CorruptError, type QueueStorage } from "../../src/storage/storage.ts";
import { testWorld } from "../storage/fixtures.ts";
import type { Image } from "./disk.ts";
import { factsOf } from "./facts.ts";
import type { Facts, History } from "./history.ts";

export interface Expectation {
  readonly history: History;
  /** A message whose record was damaged before: it is put aside, with a note and its segment, and never delivered (P6). */
  readonly damaged?: string;
  /** queue.db was damaged before, so that a start may tell of that. */
  readonly mayReport?: boolean;
  /** A repair was cut off: counts are put right at its end, and damage may be left. */
  readonly underRepair?: boolean;
}

const OPTIONS = { freshBytesMax: 0, freeBytesMin: 0, freePercentMin: 0 };
/** Nobody starts again at the instant of the cut. */
const DAY_AFTER = 1_800_086_400_000;
const MESSAGES_MAX = 10_000;

/** Files that go after their store was closed: nobody waits for them, but the next state must not lose its own. */
const going = new Set<Promise<void>>();

/** Too little room for the reserve, which would take more time to write than all the rest; enough for everything else. */
const files: SpoolFiles = {
  ...realFiles,
  async unlink(path) {
    const gone = realFiles.unlink(path).finally(() => going.delete(gone));
    going.add(gone);
    await gone;
  },
  freeSpace: async () => ({ freeBytes: 4 * 1024 * 1024, totalBytes: 2 ** 30 }),
};

/** Puts a tree of files in the place of whatever is there. */
export function materialise(image: Image, directory: string): void {
  fs.rmSync(directory, { recursive: true, force: true });
  fs.mkdirSync(directory, { recursive: true });
  for (const [path, bytes] of image) {
    const full = join(directory, path);
    if (bytes === null) fs.mkdirSync(full, { mode: 0o700 });
    else fs.writeFileSync(full, bytes, { mode: 0o600 });
  }
}

/** A tree of files as it lies in a directory. */
export function imageOf(directory: string): Image {
  const image = new Map<string, Uint8Array | null>();
  for (const entry of fs.readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const full = join(entry.parentPath, entry.name);
    const path = full.slice(directory.length + 1);
    const isDirectory = entry.isDirectory();
    image.set(path, isDirectory ? null : new Uint8Array(fs.readFileSync(full)));
  }
  return image;
}

/**
 * Starts the engine over a spool that a power cut has left, and returns what is wrong with it: messages lost, half changed
 * or come back, damage reported, garbage left behind, mail that nothing would ever deliver, counts that are not so.
 */
export async function problemsOf(
  directory: string,
  expected: Expectation,
): Promise<readonly string[]> {
  const events: Event[] = [];
  const world = testWorld(DAY_AFTER);
  try {
    const emit = (event: Event) => void events.push(event);
    const storage = await openDiskStorage({ directory, ...OPTIONS }, { world, emit, files });
    try {
      const problems = await problemsInside(storage, directory, expected);
      if (expected.damaged || expected.mayReport || events.length === 0) return problems;
      return [...problems, `P6: an alarm after a mere power cut: ${JSON.stringify(events[0])}`];
    } finally {
      await storage.close();
      await Promise.allSettled(going);
    }
  } catch (error) {
    return [`it does not start: ${error instanceof Error ? error.message : String(error)}`];
  }
}

/** As `problemsOf`, for what only a check of the whole spool finds. */
export async function leftBehind(directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  const report = (line: string) => void found.push(line);
  await fsckSpool(directory, { repair: false }, { world: testWorld(), report, files });
  return found.filter((line) => !line.includes("/scratch"));
}

async function problemsInside(
  storage: QueueStorage & { sweepOrphans(): Promise<void> },
  directory: string,
  { history, damaged, mayReport, underRepair }: Expectation,
): Promise<readonly string[]> {
  const before = fs.readdirSync(`${directory}/scratch`);
  const problems = before
    .filter((name) => !name.startsWith("spare-"))
    .map((name) => `scratch/${name} is left over`);
  const listed = (await storage.list({ limit: MESSAGES_MAX })).map(({ id }) => id);
  if (damaged && !listed.includes(damaged)) problems.push(...noteProblems(directory, damaged));
  const stored = new Map<string, Facts>();
  for (const id of listed) {
    const facts = await readable(storage, id, damaged, problems);
    if (facts !== undefined) stored.set(id, facts);
  }
  if (damaged && listed.includes(damaged)) problems.push(...noteProblems(directory, damaged));
  problems.push(...history.problems(stored, damaged));
  await storage.sweepOrphans();
  const info = await storage.getInfo();
  if (info.size !== stored.size && !underRepair)
    problems.push(`${info.size} are counted, ${stored.size} are there`);
  if (info.states.active > 0) problems.push("a lease has outlived its holder");
  if (!damaged && !mayReport && info.corrupt > 0) problems.push("damage is counted");
  problems.push(...(await undeliverable(storage, stored)));
  return problems;
}

async function readable(
  storage: QueueStorage,
  id: string,
  damaged: string | undefined,
  problems: string[],
): Promise<Facts | undefined> {
  try {
    return await factsOf(storage, id);
  } catch (error) {
    if (id === damaged && error instanceof CorruptError) return undefined;
    problems.push(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** Whatever is not held comes up some day. */
async function undeliverable(
  storage: QueueStorage,
  stored: ReadonlyMap<string, Facts>,
): Promise<readonly string[]> {
  const ever = Number.MAX_SAFE_INTEGER;
  const leased = await storage.lease(ever, MESSAGES_MAX, { holder: "check", until: ever });
  const reached = new Set(leased.map(({ id }) => id));
  const stuck = [...stored].filter(([id, { held }]) => reached.has(id) === held);
  await storage.release([...reached], "check");
  return stuck.map(([id, { held }]) => `${id} is ${held ? "held and due" : "never due"}`);
}

/** A message that is gone for its damage can still be looked into. */
function noteProblems(directory: string, id: string): readonly string[] {
  try {
    const note = JSON.parse(fs.readFileSync(`${directory}/corrupt/${id}.json`, "utf8"));
    if (note.subject !== id) return [`P6: the note of ${id} is another's`];
    const bytes = fs.readFileSync(
      join(directory, "corrupt", note.segment.slice(dirname(note.segment).length)),
    );
    return bytes.includes(id) ? [] : [`P6: the segment that was kept has nothing of ${id}`];
  } catch (error) {
    return [`P6: the damaged message ${id} is gone without a trace: ${error}`];
  }
}
