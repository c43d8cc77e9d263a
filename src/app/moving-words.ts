import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import { printable } from "../mail/reply.ts";
import type { MoveReport } from "../moving/report.ts";
import type { Emit } from "../observe/events.ts";
import { LockedError } from "../storage/disk/lock.ts";
import { exitCodeOf, reasonsOf } from "./start-error.ts";

/** Where a command that moves mail writes. */
export interface MovingIo {
  readonly stdout: { write(text: string): Promise<void> };
  /** `colour`: it is a terminal. */
  readonly stderr: { write(text: string): Promise<void>; readonly colour: boolean };
}

const LINE_MAX = 1000;
/** Messages between two signs of life. */
const PROGRESS_EVERY = 100;

/** Tells how far a move has come, where somebody watches. */
export function progressOn(io: MovingIo, total: number | undefined): (seen: number) => void {
  if (!io.stderr.colour) return () => undefined;
  return (seen) => {
    if (seen % PROGRESS_EVERY !== 0) return;
    const of = total === undefined ? "" : ` of ${total}`;
    void io.stderr.write(`\r${seen}${of} `).catch(() => undefined);
  };
}

/** What the stores themselves have to say, such as a warning. */
export function tellOn(io: MovingIo): Emit {
  const tell = (text: string): void =>
    void io.stderr.write(`${printable(text, LINE_MAX)}\n`).catch(() => undefined);
  return (event) => {
    if (event.kind === "lifecycle") tell(event.text);
    if (event.kind !== "corrupt") return;
    tell(`${event.subject} is damaged (${event.reason}): moved to ${event.movedTo}`);
  };
}

/** What is said of a move: each message that was left, and then all of it in one line or as JSON. */
export async function tellReport(
  report: MoveReport,
  { title, json }: { readonly title: string; readonly json: boolean },
  io: MovingIo,
): Promise<void> {
  if (io.stderr.colour) await io.stderr.write("\r");
  for (const { id, text } of [...report.notes, ...report.leftNames]) {
    await io.stderr.write(`${printable(`${id}: ${text}`, LINE_MAX)}\n`);
  }
  const unnamed = report.left - report.leftNames.length;
  if (unnamed > 0) await io.stderr.write(`and ${unnamed} more\n`);
  if (report.stopped !== undefined) {
    await io.stderr.write(`stopped: ${printable(report.stopped, LINE_MAX)}; run it again\n`);
  }
  await io.stdout.write(json ? `${terminalJson(report)}\n` : `${title}: ${countsText(report)}\n`);
}

function countsText({ moved, resumed, known, gone, left, halfway }: MoveReport): string {
  const parts = [
    `${moved} moved${resumed > 0 ? ` (${resumed} from a run before)` : ""}`,
    ...(known > 0 ? [`${known} there already`] : []),
    ...(gone > 0 ? [`${gone} gone meanwhile`] : []),
    ...(left > 0 ? [`${left} left`] : []),
    ...(halfway > 0 ? [`${halfway} held halfway until it is run again`] : []),
  ];
  return parts.join(", ");
}

/** Tells why a store cannot be opened; resolves with the exit code. */
export async function tellOpenError(error: unknown, io: MovingIo): Promise<number> {
  const advice = error instanceof LockedError ? "; stop the daemon first" : "";
  await io.stderr.write(`cannot move mail: ${reasonsOf(error)}${advice}\n`);
  return exitCodeOf(error);
}

/** 0: all of it is done. 75: running it again goes on. 65: somebody has to look at what was left. */
export function moveExit({ stopped, halfway, leftNames, left, notes }: MoveReport): number {
  const isForLater = leftNames.some(({ reason }) => reason === "busy");
  if (stopped !== undefined || halfway > 0 || isForLater) return exit.temporary;
  return left > 0 || notes.length > 0 ? exit.data : exit.ok;
}
