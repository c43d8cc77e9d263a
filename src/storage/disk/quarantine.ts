import { basename } from "node:path";
import { codeOf } from "../../lib/error-code.ts";
import type { Emit } from "../../observe/events.ts";
import { storeError } from "../store-error.ts";
import type { SpoolFiles } from "./files.ts";
import type { Journal } from "./journal.ts";
import type { Layout } from "./layout.ts";

/** A record or file that is put aside. */
export interface Damage {
  /** What the note is called: a message id or a segment's number. */
  readonly subject: string;
  /** The segment that the bytes are in, if it is still there. */
  readonly segment?: number;
  readonly reason: string;
  /** Whatever helps an operator to find out what it was. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Of the name of a note. */
const SUBJECT_MAX = 64;

export interface QuarantineParts {
  readonly files: SpoolFiles;
  readonly layout: Layout;
  readonly emit: Emit;
  /** Keeps the count. */
  readonly journal: Pick<Journal, "noteCorrupt">;
}

/**
 * Moves aside (P6) what a start finds and no message needs: the whole segment stays readable in `corrupt/` under a second
 * name, with a note in JSON that says why; it is counted and told. Never throws: a disk that cannot take the note must not
 * stop the start.
 */
export async function quarantine(damage: Damage, parts: QuarantineParts): Promise<void> {
  // Without a note the event still tells.
  await keepEvidence(damage, parts).catch(() => undefined);
  tellDamage(damage, parts);
}

/** Counts damage and tells of it. */
export function tellDamage({ subject, reason }: Damage, parts: QuarantineParts): void {
  const { layout, emit, journal } = parts;
  journal.noteCorrupt();
  emit({ kind: "corrupt", subject, movedTo: notePath(subject, layout), reason });
}

/**
 * Gives the segment its second name and writes the note. When it resolves both survive a power cut: only then may the
 * message leave the queue, or nothing would be left of it. A disk that is full or sick is a `QueueError`: try again.
 */
export async function keepEvidence(
  { subject, segment, reason, facts }: Damage,
  parts: Pick<QuarantineParts, "files" | "layout">,
): Promise<void> {
  const { files, layout } = parts;
  try {
    const kept = segment === undefined ? undefined : keepSegment(segment, files, layout);
    const note = notePath(subject, layout);
    const text = JSON.stringify({ subject, reason, ...facts, segment: kept });
    if (!files.exists(note)) await writeNote(note, `${text}\n`, parts);
    await files.syncDirectory(layout.corrupt);
  } catch (cause) {
    throw storeError(`what is damaged of ${subject} (${reason}) cannot be moved aside`, cause);
  }
}

/** By way of scratch: there is no half of a note, which would never be made whole. */
async function writeNote(
  path: string,
  text: string,
  { files, layout }: Pick<QuarantineParts, "files" | "layout">,
): Promise<void> {
  const draft = `${layout.scratch}/${basename(path)}`;
  await files.unlink(draft);
  const fd = files.create(draft);
  try {
    files.append(fd, new TextEncoder().encode(text));
    await files.syncData(fd);
  } finally {
    files.close(fd);
  }
  files.rename(draft, path);
}

/** Where the note on a subject is; a damaged database may say anything of what an id is. */
export function notePath(subject: string, { corrupt }: Pick<Layout, "corrupt">): string {
  return `${corrupt}/${subject.replace(/[^\w-]/gu, "_").slice(0, SUBJECT_MAX)}.json`;
}

/** The second name of a segment with damage in it. */
export function keptPath(number: number, layout: Layout): string {
  const path = layout.segment(number);
  return `${layout.corrupt}/${path.slice(path.lastIndexOf("/") + 1)}`;
}

/** That another name cannot be had now says nothing of later; any other refusal is for good, or the segment is gone. */
const NOT_NOW = new Set(["ENOSPC", "EDQUOT", "EIO", "EROFS"]);

/** A second name costs no space until the segment itself goes. `undefined`: there is no way to give it one. */
export function keepSegment(number: number, files: SpoolFiles, layout: Layout): string | undefined {
  const path = layout.segment(number);
  const kept = keptPath(number, layout);
  try {
    if (!files.exists(kept)) files.link(path, kept);
    return kept;
  } catch (error) {
    if (NOT_NOW.has(codeOf(error)))
      throw storeError(`segment ${number} cannot be moved aside`, error);
    return undefined;
  }
}
