import type { Emit } from "../../observe/events.ts";
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

export interface QuarantineParts {
  readonly files: SpoolFiles;
  readonly layout: Layout;
  readonly emit: Emit;
  /** Keeps the count. */
  readonly journal: Pick<Journal, "noteCorrupt">;
}

/**
 * Moves damage aside (P6): the whole segment stays readable in `corrupt/` under a second name, with a note in JSON that
 * says why; it is counted and told. Never throws: a disk that cannot take the note must not stop other mail.
 */
export async function quarantine(damage: Damage, parts: QuarantineParts): Promise<void> {
  const { files, layout, emit, journal } = parts;
  const note = `${layout.corrupt}/${damage.subject}.json`;
  const kept =
    damage.segment === undefined ? undefined : keepSegment(damage.segment, files, layout);
  const text = JSON.stringify({
    subject: damage.subject,
    reason: damage.reason,
    ...damage.facts,
    segment: kept,
  });
  try {
    if (!files.exists(note)) {
      const fd = files.create(note);
      try {
        files.append(fd, new TextEncoder().encode(`${text}\n`));
        await files.syncData(fd);
      } finally {
        files.close(fd);
      }
    }
  } catch {
    // The event below still tells.
  }
  journal.noteCorrupt();
  emit({ kind: "corrupt", subject: damage.subject, movedTo: note, reason: damage.reason });
}

/** A second name costs no space until the segment itself goes. */
function keepSegment(number: number, files: SpoolFiles, layout: Layout): string | undefined {
  const path = layout.segment(number);
  const kept = `${layout.corrupt}/${path.slice(path.lastIndexOf("/") + 1)}`;
  try {
    if (!files.exists(kept)) files.link(path, kept);
    return kept;
  } catch {
    return undefined;
  }
}
