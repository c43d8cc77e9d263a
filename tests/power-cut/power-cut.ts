/** Records the engine, cuts the power wherever it could go, and starts the engine over what is left. */
import * as fs from "node:fs";
import { join } from "node:path";
import { startChild } from "../support/child.ts";
import { seededRandom } from "../support/seeded.ts";
import { type TempDir, tempDir } from "../support/temp-dir.ts";
import { type Break, CHAPTERS, type Chapter, DAMAGED } from "./chapters.ts";
import { imageOf, leftBehind, materialise, problemsOf } from "./check.ts";
import { Disk, type Image } from "./disk.ts";
import { History, type Mark } from "./history.ts";
import { readRecording, type Step, withoutDirectorySyncsOfSqlite } from "./recording.ts";
import { type Candidate, candidates, describeSurvival } from "./states.ts";
import { straced } from "./system-calls.ts";

export interface Options {
  /** Chooses the states that are looked at, where not all of them are. */
  readonly seed: number;
  /** How many states of each recording are looked at. */
  readonly states: number;
  /** So many more processes of each recording are killed, or lose their power, anywhere, and the next one is recorded. */
  readonly breaks?: number;
  /** Only recordings whose name has this in it. */
  readonly only?: string;
  /** A line for each recording. */
  readonly report?: (line: string) => void;
  /** Stops at so many findings. */
  readonly findingsMax?: number;
  /** A directory in which the disk of each finding is kept, as the power cut left it. */
  readonly keep?: string | undefined;
}

/** A state of the disk from which the engine did not come back as it promises. */
export interface Finding {
  readonly text: string;
  readonly problems: readonly string[];
}

export interface Result {
  readonly findings: readonly Finding[];
  readonly recordings: number;
  /** Instants at which the power could go. */
  readonly cuts: number;
  /** Different states of the disk that they could leave. */
  readonly possible: number;
  /** How many of those the engine was started over. */
  readonly checked: number;
}

/** A recording with what came before it: steps before `from` belong to a process that has ended. */
interface Recorded {
  readonly name: string;
  readonly chapter: Chapter;
  readonly image: Image;
  readonly history: History;
  readonly steps: readonly Step[];
  readonly from: number;
}

/** Starts the engine over what a power cut may leave at each step of every recording. */
export async function cutPower(options: Options): Promise<Result> {
  await using work = tempDir("power-cut", fs.existsSync("/dev/shm") ? "/dev/shm" : undefined);
  const lab = new Lab(work, options);
  for (const chapter of CHAPTERS) {
    if (lab.isDone) break;
    if (!isWanted(chapter, options)) continue;
    const recorded = await lab.record(chapter);
    await lab.check(recorded);
    const more = anywhere(recorded, options);
    for (const one of [...(chapter.breaks ?? []), ...more]) {
      if (!lab.isDone) await lab.check(await lab.recordBehind(one, recorded));
    }
  }
  return lab.result();
}

class Lab {
  readonly #work: TempDir;
  readonly #options: Options;
  readonly #findings: Finding[] = [];
  readonly #counts = { recordings: 0, cuts: 0, possible: 0, checked: 0 };
  /** Processes over one disk: each has ids and numbers of its own. */
  #processes = 0;

  constructor(work: TempDir, options: Options) {
    this.#work = work;
    this.#options = options;
  }

  /** As much is wrong as anybody wanted to know. */
  get isDone(): boolean {
    return this.#findings.length >= (this.#options.findingsMax ?? Number.POSITIVE_INFINITY);
  }

  result(): Result {
    return { findings: this.#findings, ...this.#counts };
  }

  /** The same path for all: what the engine writes may name it. */
  get #disk(): string {
    return this.#work.join("disk");
  }

  async record(chapter: Chapter): Promise<Recorded> {
    this.#processes = 0;
    materialise(new Map(), this.#disk);
    const history = new History();
    for (const script of chapter.before) {
      for (const mark of await this.#run(script)) history.take(mark);
    }
    const image = imageOf(this.#disk);
    const traced = await this.#trace(chapter.script);
    const steps = chapter.ownSyncsOnly ? withoutDirectorySyncsOfSqlite(traced) : traced;
    return { name: chapter.name, chapter, image, history, steps, from: 0 };
  }

  /** Ends the process of a recording at an instant, with or without the machine, and records the next one. */
  async recordBehind({ name, how, behind }: Break, recorded: Recorded): Promise<Recorded> {
    const at = recorded.steps.findLastIndex(behind);
    if (at < 0) throw new Error(`nothing to break off: ${name}`);
    const { chapter } = recorded;
    const { disk, history } = replay(recorded, at + 1);
    const image = how === "kill" ? disk.current() : somewhere(disk, this.#options.seed);
    materialise(image, this.#disk);
    const steps = await this.#trace("recover");
    if (how === "power cut") return { name, chapter, image, history, steps, from: 0 };
    const all = [...recorded.steps.slice(0, at + 1), ...steps];
    return { ...recorded, name, steps: all, from: at + 1 };
  }

  async check(recorded: Recorded): Promise<void> {
    const { only = "", states, report } = this.#options;
    if (!recorded.name.includes(only)) return;
    const possible = this.#possible(recorded);
    const chosen = choose([...possible.values()], states, seededRandom(this.#options.seed));
    const before = this.#findings.length;
    await this.#checkAll(recorded, chosen);
    this.#counts.recordings += 1;
    this.#counts.cuts += recorded.steps.length - recorded.from;
    this.#counts.possible += possible.size;
    this.#counts.checked += chosen.length;
    const found = this.#findings.length - before;
    const steps = recorded.steps.length - recorded.from;
    report?.(
      `${recorded.name}: ${steps} steps, ${possible.size} states, ${chosen.length} checked, ${found} wrong`,
    );
  }

  /** Each state at the last instant at which it is possible: most was promised by then. */
  #possible(recorded: Recorded): ReadonlyMap<string, Cut> {
    const possible = new Map<string, Cut>();
    const disk = new Disk(recorded.image);
    for (const [index, step] of recorded.steps.entries()) {
      disk.take(step);
      if (index < recorded.from || step.kind === "sync-start") continue;
      const random = seededRandom(this.#options.seed + index * 7919);
      const isBeforeSync = recorded.steps[index + 1]?.kind === "sync-start";
      for (const candidate of candidates(disk, random)) {
        // Put behind the others, so that the map is in the order of steps.
        possible.delete(candidate.key);
        const isLastChance = isBeforeSync && candidate.losesOneName;
        possible.set(candidate.key, { ...candidate, index, isLastChance });
      }
    }
    return possible;
  }

  async #checkAll(recorded: Recorded, chosen: readonly Cut[]): Promise<void> {
    const { disk, history } = replay(recorded, 0);
    let next = 0;
    for (const [index, step] of recorded.steps.entries()) {
      disk.take(step);
      takeMark(history, step);
      for (let cut = chosen[next]; cut?.index === index; cut = chosen[next]) {
        next += 1;
        if (this.isDone) return;
        await this.#checkOne(recorded, { disk, history, cut });
      }
    }
  }

  async #checkOne(
    { name, chapter, steps }: Recorded,
    { disk, history, cut }: { disk: Disk; history: History; cut: Cut },
  ): Promise<void> {
    materialise(disk.image(cut.survival), this.#disk);
    const spool = join(this.#disk, "spool");
    const { mayReport = false } = chapter;
    const damaged = chapter.damaged ? { damaged: DAMAGED } : {};
    const underRepair = chapter.script === "repair" && !history.isAcknowledged("repair");
    const expected = { history, mayReport, underRepair, ...damaged };
    const problems = [...(await problemsOf(spool, expected))];
    if (problems.length === 0 && cut.isExtreme && !underRepair) {
      problems.push(...(await leftBehind(spool)));
    }
    if (problems.length === 0) return;
    const { seed, keep } = this.#options;
    const where = `seed ${seed}, ${name}: cut after step ${cut.index}, ${describeStep(steps, cut.index)}`;
    const kept = keep === undefined ? "" : join(keep, String(this.#findings.length + 1));
    if (kept !== "") materialise(disk.image(cut.survival), kept);
    this.#findings.push({
      text: `${where}\n    ${describeSurvival(disk, cut.survival)}${kept && `\n    kept in ${kept}`}`,
      problems,
    });
  }

  /** Runs a script to its end; everything it did is on the disk. */
  async #run(script: string): Promise<readonly Mark[]> {
    const marks = this.#marks();
    await this.#child(this.#command(script, marks));
    const text = fs.readFileSync(marks, "utf8");
    return text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Mark);
  }

  async #trace(script: string): Promise<readonly Step[]> {
    const [marks, log] = [this.#marks(), this.#work.join("strace")];
    await this.#child(straced(log, this.#command(script, marks)));
    return readRecording(fs.readFileSync(log, "latin1"), this.#disk, marks);
  }

  #marks(): string {
    this.#processes += 1;
    const path = this.#work.join("marks");
    fs.writeFileSync(path, "");
    return path;
  }

  #command(script: string, marks: string): readonly string[] {
    const program = join(import.meta.dir, "workload.ts");
    return [
      process.execPath,
      program,
      script,
      join(this.#disk, "spool"),
      marks,
      String(this.#processes),
    ];
  }

  async #child(command: readonly string[]): Promise<void> {
    await using child = startChild(command);
    const code = await child.exited;
    if (code !== KILLED)
      throw new Error(`${command.join(" ")} ended with ${code}:\n${child.output()}`);
  }
}

/** How every script ends itself. */
const KILLED = 128 + 9;

interface Cut extends Candidate {
  /** The step behind which the power goes. */
  readonly index: number;
  /** A name is lost that the sync about to begin may be there for. */
  readonly isLastChance: boolean;
}

/** The disk and what clients know, behind so many steps. */
function replay({ image, history: before, steps }: Recorded, count: number) {
  const [disk, history] = [new Disk(image), before.copy()];
  for (const step of steps.slice(0, count)) {
    disk.take(step);
    takeMark(history, step);
  }
  return { disk, history };
}

function takeMark(history: History, step: Step): void {
  if (step.kind === "mark") history.take(JSON.parse(step.text) as Mark);
}

/** Whether the chapter, or what comes behind one of its breaks, is to be looked at. */
function isWanted({ name, breaks = [] }: Chapter, { only = "" }: Options): boolean {
  // The names of breaks by chance begin with that of their chapter.
  if (only.startsWith(name)) return true;
  return [name, ...breaks.map((one) => one.name)].some((each) => each.includes(only));
}

/** Breaks by chance. What damage does to a start is known without them. */
function anywhere(
  { chapter, name, steps }: Recorded,
  { breaks = 0, seed }: Options,
): readonly Break[] {
  if (chapter.damaged || chapter.script === "repair") return [];
  const random = seededRandom(seed);
  return Array.from({ length: breaks }, () => {
    const at = Math.floor(random() * steps.length);
    const how = random() < 0.7 ? "kill" : "power cut";
    return { name: `${name}, ${how} behind step ${at}`, how, behind: (_, index) => index === at };
  });
}

/** One of the states that a power cut may leave. */
function somewhere(disk: Disk, seed: number): Image {
  const possible = candidates(disk, seededRandom(seed));
  const last = possible.at(-1);
  return last ? disk.image(last.survival) : disk.current();
}

/**
 * As many as wanted, in the order of steps: one of each kind first, as far as there is room; up to half of that is for
 * the last chances of names to get lost.
 */
function choose(cuts: readonly Cut[], count: number, random: () => number): readonly Cut[] {
  const kinds = new Set<string>();
  const [late, first, more]: [Cut[], Cut[], Cut[]] = [[], [], []];
  for (const cut of shuffled(cuts, random)) {
    if (kinds.has(cut.kind)) more.push(cut);
    else if (cut.isLastChance && late.length < count / 2) late.push(cut);
    else first.push(cut);
    kinds.add(cut.kind);
  }
  return [...late, ...first, ...more]
    .slice(0, count)
    .sort((left, right) => left.index - right.index);
}

function shuffled<T>(all: readonly T[], random: () => number): readonly T[] {
  const rolled = all.map((one) => ({ one, roll: random() }));
  return rolled.sort((left, right) => left.roll - right.roll).map(({ one }) => one);
}

function describeStep(steps: readonly Step[], index: number): string {
  const step = steps[index];
  if (step === undefined) return "the end";
  if (step.kind === "mark") return `mark ${step.text.slice(0, 200)}`;
  if ("path" in step) return `${step.kind} ${step.path}${"to" in step ? ` ${step.to}` : ""}`;
  const opened = steps
    .slice(0, index)
    .findLast((one) => one.kind === "open" && one.handle === step.handle);
  const path = opened?.kind === "open" ? opened.path : "";
  const what =
    step.kind === "write" ? ` of ${step.bytes.length} octets at ${step.offset ?? "the end"}` : "";
  return `${step.kind}${what} ${path}`;
}
