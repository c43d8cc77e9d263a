/** What is recorded: each chapter is one process of the engine at its work, on a disk that earlier ones have left. */
import { idOf } from "../storage/fixtures.ts";
import type { Step } from "./recording.ts";

/** One recording: what lies on the disk when it starts, and what then runs. */
export interface Chapter {
  readonly name: string;
  /** Scripts that run before, whose work is on the disk for certain. */
  readonly before: readonly string[];
  readonly script: string;
  readonly damaged?: boolean;
  /** Something was damaged before, or may be: a start may tell of it. */
  readonly mayReport?: boolean;
  /** SQLite's syncs of directories count for nothing, so that the engine's own have to do. */
  readonly ownSyncsOnly?: boolean;
  /** Places where this recording is broken off, each of which a chapter of its own goes on from. */
  readonly breaks?: readonly Break[];
}

/** A process that is killed, or a power cut, and the start that follows and is recorded again. */
export interface Break {
  readonly name: string;
  /** A kill leaves what the system has not written yet where it is: the next process sees it, and it is still not safe. */
  readonly how: "kill" | "power cut";
  /** The step behind which it happens; the last one that fits. */
  readonly behind: (step: Step, index: number, steps: readonly Step[]) => boolean;
}

/** The message whose record `damageRecord` damages: the third of the first process. */
export const DAMAGED = idOf(1003);

const isRename = (step: Step) => step.kind === "rename" && step.to.includes("/content/");

/** The request that was asked for last when a step was done. */
function asking(what: string) {
  return (index: number, steps: readonly Step[]): boolean => {
    const asked = steps.slice(0, index).findLast(({ kind }) => kind === "mark");
    return asked?.kind === "mark" && asked.text.includes(`"what":"${what}"`);
  };
}

const onBounce = asking("bounce");
const onSettle = asking("settle");

export const CHAPTERS: readonly Chapter[] = [
  {
    name: "everything",
    before: [],
    script: "everything",
    breaks: [
      {
        name: "killed behind the rename of a bounce",
        how: "kill",
        behind: (step, index, steps) => isRename(step) && onBounce(index, steps),
      },
      {
        name: "killed behind the transaction of a settlement",
        how: "kill",
        behind: (step, index, steps) => step.kind === "write" && onSettle(index, steps),
      },
      {
        name: "killed while the directories are made",
        how: "kill",
        behind: (step) => step.kind === "mkdir" && step.path.endsWith("/corrupt"),
      },
      {
        name: "killed behind the first directory",
        how: "kill",
        behind: (step) => step.kind === "mkdir" && step.path === "spool",
      },
      {
        name: "killed behind the first rename of all",
        how: "kill",
        behind: (step, index, steps) => isRename(step) && steps.findIndex(isRename) === index,
      },
      {
        name: "a power cut behind a rename",
        how: "power cut",
        behind: (step, index, steps) => isRename(step) && onBounce(index, steps),
      },
    ],
  },
  {
    name: "everything, without SQLite's syncs of directories",
    before: [],
    script: "everything",
    ownSyncsOnly: true,
    // A queue.db that is cut off while it is made counts as damaged then; nothing is in it.
    mayReport: true,
  },
  { name: "checkpoints", before: [], script: "checkpoints" },
  { name: "compaction", before: ["manySegments"], script: "compaction" },
  {
    name: "queue.db is lost",
    before: ["some", "loseDatabase"],
    script: "recover",
    mayReport: true,
  },
  {
    name: "queue.db is damaged",
    before: ["someTried", "damageDatabase"],
    script: "recover",
    mayReport: true,
  },
  {
    name: "queue.db is known to be damaged",
    before: ["someKilled", "planRebuild"],
    script: "recover",
    mayReport: true,
  },
  {
    name: "queue.db cannot be opened, and its write-ahead file is whole",
    before: ["someKilled", "blockDatabase"],
    script: "start",
    mayReport: true,
    breaks: [
      {
        name: "killed while the new queue.db is filled",
        how: "kill",
        behind: (step) => step.kind === "unlink" && step.path.endsWith(".db-wal"),
      },
    ],
  },
  {
    name: "a record is damaged",
    before: ["some", "damageRecord"],
    script: "quarantine",
    damaged: true,
  },
  {
    name: "repair",
    before: ["some", "damageHeader"],
    script: "repair",
    mayReport: true,
  },
  {
    name: "repair of a record",
    before: ["some", "damageRecord"],
    script: "repair",
    damaged: true,
  },
];
