import type { Body, SourceBody } from "../../mail/content.ts";
import type { BodyFile, BodyFiles } from "./body-file.ts";
import type { SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";
import { BLOCK_HEADER_BYTES, encodeFileHeader, type SegmentKind } from "./segment.ts";
import { type Entry, type Place, SegmentLayout } from "./segment-writer.ts";
import type { Spares } from "./spares.ts";

/** Where an entry is, durably. */
export interface Located extends Place {
  readonly segment: number;
}

/** What one group may hold: whoever comes behind waits for the next. */
const GROUP_BYTES_MAX = 8 * 1024 * 1024;
const GROUP_JOBS_MAX = 1000;

/** One `write`: its entries are stored together or not at all (P2). */
interface Job {
  readonly entries: readonly Entry[];
  readonly kind: SegmentKind;
  readonly done: PromiseWithResolvers<readonly Located[]>;
}

/** A file that is being written in scratch. */
interface Pending {
  readonly number: number;
  readonly path: string;
  readonly bytes: number;
  readonly results: readonly { readonly job: Job; readonly places: readonly Located[] }[];
}

export interface CommitterParts {
  readonly files: SpoolFiles;
  readonly layout: Layout;
  readonly bodyFiles: BodyFiles;
  readonly spares: Spares;
  /** The first segment number that was never used. */
  readonly firstNumber: number;
  /** Called for each segment that has become durable, before anybody hears of it. */
  readonly onSegment: (number: number, bytes: number, jobs: readonly CommittedJob[]) => void;
}

export interface CommittedJob {
  readonly entries: readonly Entry[];
  readonly places: readonly Located[];
  readonly kind: SegmentKind;
}

/**
 * Group commit. What is given while a commit is under way goes into the next one: one scratch file, one data sync, one
 * rename and one directory sync for all of it. Nothing waits on a timer. Segments are numbered in the order in
 * which they are renamed into place; the rename, made durable by the directory sync, is the commit point.
 */
export class Committer {
  readonly #parts: CommitterParts;
  readonly #waiting: Job[] = [];
  #running: Promise<void> | undefined;
  #nextNumber: number;
  #shard = "";
  #scratchNumber = 0;

  constructor(parts: CommitterParts) {
    this.#parts = parts;
    this.#nextNumber = parts.firstNumber;
  }

  /** A name in scratch that nobody else has. */
  scratchPath(): string {
    this.#scratchNumber += 1;
    return `${this.#parts.layout.scratch}/${this.#scratchNumber}`;
  }

  /** Resolves when all entries are durable; rejects when none is, with nothing left behind. */
  commit(entries: readonly Entry[], kind: SegmentKind = "accepted"): Promise<readonly Located[]> {
    const done = Promise.withResolvers<readonly Located[]>();
    this.#waiting.push({ entries, kind, done });
    this.#running ??= this.#run();
    return done.promise;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      // The rest of this turn of the event loop: what other clients have sent by now shares the commit.
      await new Promise((resolve) => setImmediate(resolve));
      await this.#commitGroup(this.#takeGroup());
    }
    this.#running = undefined;
  }

  #takeGroup(): readonly Job[] {
    let bytes = 0;
    let count = 0;
    for (const job of this.#waiting) {
      bytes += jobBytes(job);
      if (count > 0 && (bytes > GROUP_BYTES_MAX || count >= GROUP_JOBS_MAX)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #commitGroup(jobs: readonly Job[]): Promise<void> {
    const pending: Pending[] = [];
    const opened: { fd: number; path: string }[] = [];
    const renamed: string[] = [];
    try {
      for (const file of this.#filesOf(jobs)) pending.push(this.#write(file, opened));
      await Promise.all(opened.map(({ fd }) => this.#parts.files.syncData(fd)));
      for (const { fd } of opened.splice(0)) this.#parts.files.close(fd);
      await this.#rename(pending, renamed);
    } catch (error) {
      await this.#undo(opened, pending, renamed);
      for (const job of jobs) job.done.reject(error);
      return;
    }
    for (const file of pending) this.#announce(file);
  }

  /** Small messages share one file; each streamed one already has its own; copies are told apart from news. */
  #filesOf(jobs: readonly Job[]): readonly { jobs: readonly Job[]; body?: SourceBody }[] {
    const shared = jobs.filter((job) => streamedBody(job) === undefined);
    const files: { jobs: readonly Job[]; body?: SourceBody }[] = [];
    for (const kind of ["accepted", "copies"] as const) {
      const same = shared.filter((job) => job.kind === kind);
      if (same.length > 0) files.push({ jobs: same });
    }
    for (const job of jobs) {
      const body = streamedBody(job);
      if (body !== undefined) files.push({ jobs: [job], body });
    }
    return files;
  }

  #write(
    file: { readonly jobs: readonly Job[]; readonly body?: SourceBody },
    opened: { fd: number; path: string }[],
  ): Pending {
    const { files, bodyFiles } = this.#parts;
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    const kind = file.jobs[0]?.kind ?? "accepted";
    let target: BodyFile | { readonly fd: number; readonly path: string };
    let layout: SegmentLayout;
    if (file.body === undefined) {
      target = this.#openScratch();
      layout = new SegmentLayout(kind, number);
    } else {
      const taken = bodyFiles.get(file.body);
      if (taken === undefined)
        throw new Error("a streamed body was stored already, or is not of this spool");
      bodyFiles.delete(file.body);
      target = taken;
      layout = new SegmentLayout(
        kind,
        number,
        taken.place.offset + BLOCK_HEADER_BYTES + taken.place.length,
      );
      layout.placed(file.body, taken.place);
    }
    opened.push({ fd: target.fd, path: target.path });
    const results = file.jobs.map((job) => ({
      job,
      places: job.entries.map((entry) => ({ segment: number, ...layout.add(entry) })),
    }));
    files.append(target.fd, layout.finish());
    if (file.body !== undefined) files.writeAt(target.fd, encodeFileHeader(kind, number), 0);
    return { number, path: target.path, bytes: layout.end, results };
  }

  #openScratch(): { readonly fd: number; readonly path: string } {
    const { files, spares } = this.#parts;
    const spare = spares.take();
    if (spare !== undefined) return { fd: files.openForReuse(spare), path: spare };
    const path = this.scratchPath();
    return { fd: files.create(path), path };
  }

  async #rename(pending: readonly Pending[], renamed: string[]): Promise<void> {
    const { files, layout } = this.#parts;
    const shards = new Set<string>();
    for (const file of pending) {
      const shard = layout.shard(file.number);
      await this.#ensureShard(shard);
      files.rename(file.path, layout.segment(file.number));
      renamed.push(layout.segment(file.number));
      shards.add(shard);
    }
    for (const shard of shards) await files.syncDirectory(shard);
  }

  async #ensureShard(shard: string): Promise<void> {
    if (shard === this.#shard) return;
    this.#parts.files.makeDirectory(shard);
    // The directory's own name must survive a power cut too.
    await this.#parts.files.syncDirectory(this.#parts.layout.content);
    this.#shard = shard;
  }

  /** Leaves nothing of a failed group: its clients were told 4xx and will come again. */
  async #undo(
    opened: readonly { readonly fd: number; readonly path: string }[],
    pending: readonly Pending[],
    renamed: readonly string[],
  ): Promise<void> {
    const { files } = this.#parts;
    for (const { fd } of opened) files.close(fd);
    const paths = [
      ...opened.map(({ path }) => path),
      ...pending.map(({ path }) => path),
      ...renamed,
    ];
    for (const path of new Set(paths)) await files.unlink(path).catch(() => undefined);
  }

  #announce(file: Pending): void {
    const jobs = file.results.map(({ job, places }) => ({
      entries: job.entries,
      places,
      kind: job.kind,
    }));
    this.#parts.onSegment(file.number, file.bytes, jobs);
    for (const { job, places } of file.results) job.done.resolve(places);
  }
}

function streamedBody(job: Job): SourceBody | undefined {
  const body: Body | undefined = job.entries[0]?.envelope.content.body;
  return body?.kind === "source" ? body : undefined;
}

function jobBytes(job: Job): number {
  let bytes = 0;
  for (const { envelope } of job.entries) {
    const { body, prefix } = envelope.content;
    bytes += prefix.length + (body.kind === "bytes" ? body.bytes.length : 0);
  }
  return bytes;
}
