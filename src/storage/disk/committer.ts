import { gathered } from "../../lib/turn.ts";
import type { SourceBody } from "../../mail/content.ts";
import { QueueError } from "../../mail/queue-error.ts";
import type { BodyFile, BodyFiles } from "./body-file.ts";
import type { SpoolFiles } from "./files.ts";
import type { Layout } from "./layout.ts";
import { BLOCK_HEADER_BYTES, encodeFileHeader, type SegmentKind, saltOf } from "./segment.ts";
import { SegmentBuffer } from "./segment-buffer.ts";
import { type Entry, type Place, SegmentLayout } from "./segment-writer.ts";
import type { Spares } from "./spares.ts";

/** Where an entry is, durably. */
export interface Located extends Place {
  readonly segment: number;
}

/** What one group may hold: whoever comes behind waits for the next. */
const GROUP_BYTES_MAX = 8 * 1024 * 1024;
const GROUP_JOBS_MAX = 1000;
/** So many share the cost well enough: no more are waited for. */
const GATHERED_JOBS_MAX = 16;

/** One `write`: its entries are stored together or not at all (P2). */
interface Job {
  readonly entries: readonly Entry[];
  readonly kind: SegmentKind;
  /** The streamed body that its entries share, in the file that it was streamed to. */
  readonly streamed?: { readonly body: SourceBody; readonly file: BodyFile };
  readonly done: PromiseWithResolvers<readonly Located[]>;
}

/** An open file in scratch. */
interface Scratch {
  readonly fd: number;
  readonly path: string;
}

/** What goes into one file of a group. */
interface GroupFile {
  readonly jobs: readonly Job[];
  readonly streamed?: NonNullable<Job["streamed"]>;
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
  /** A number in [0, 1), for salts. */
  readonly random: () => number;
  /** Called for each segment that has become durable, before anybody hears of it. Does not throw. */
  readonly onSegment: (number: number, bytes: number) => void;
  /** Called behind that for each of its jobs, in the same turn. What it throws is what the job's giver gets. */
  readonly onJob: (job: CommittedJob) => void;
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
  readonly #buffer = new SegmentBuffer();
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
    const [body, ...others] = streamedBodies(entries);
    const file = body && this.#parts.bodyFiles.get(body);
    // What is wrong with one message must not fail the group that it would have been in.
    if (others.length > 0 || (body && !file)) {
      return Promise.reject(
        new QueueError("a streamed body was stored already, or is one of many"),
      );
    }
    if (body) this.#parts.bodyFiles.delete(body);
    this.#waiting.push({ entries, kind, done, ...(body && file && { streamed: { body, file } }) });
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return done.promise;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      // What other clients have sent by now shares the commit, which costs the same for one message and for many.
      await gathered(() => this.#waiting.length, GATHERED_JOBS_MAX);
      await this.#commitGroup(this.#takeGroup());
    }
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
    const opened: Scratch[] = jobs.flatMap(({ streamed }) => (streamed ? [streamed.file] : []));
    const renamed: string[] = [];
    try {
      for (const file of filesOf(jobs)) pending.push(this.#write(file, opened));
      await this.#sync(opened);
      for (const { fd } of opened.splice(0)) this.#close(fd);
      await this.#rename(pending, renamed);
    } catch (error) {
      await this.#undo(opened, pending, renamed);
      for (const job of jobs) job.done.reject(error);
      return;
    }
    for (const file of pending) this.#announce(file);
  }

  #write({ jobs, streamed }: GroupFile, opened: Scratch[]): Pending {
    const { files, random } = this.#parts;
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    const kind = jobs[0]?.kind ?? "accepted";
    const header = { kind, number, salt: streamed?.file.salt ?? saltOf(random()) };
    const place = streamed?.file.place;
    const start = place && place.offset + BLOCK_HEADER_BYTES + place.length;
    const layout = new SegmentLayout(this.#buffer, header, start);
    if (streamed) layout.placed(streamed.body, streamed.file.place);
    const target = streamed?.file ?? this.#openScratch();
    if (!streamed) opened.push(target);
    const results = jobs.map((job) => ({
      job,
      places: job.entries.map((entry) => ({ segment: number, ...layout.add(entry) })),
    }));
    files.append(target.fd, layout.finish());
    if (streamed) files.writeAt(target.fd, encodeFileHeader(header), 0);
    return { number, path: target.path, bytes: layout.end, results };
  }

  /** Waits for all, also when one fails: a file must not be closed while another thread works on it. */
  async #sync(opened: readonly Scratch[]): Promise<void> {
    const results = await Promise.allSettled(
      opened.map(({ fd }) => this.#parts.files.syncData(fd)),
    );
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
  }

  #openScratch(): Scratch {
    const { files, spares } = this.#parts;
    const spare = spares.take();
    if (spare !== undefined) {
      try {
        return { fd: files.openForReuse(spare), path: spare };
      } catch {
        // Somebody tidied up in scratch: a file of its own does as well.
      }
    }
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
    opened: readonly Scratch[],
    pending: readonly Pending[],
    renamed: readonly string[],
  ): Promise<void> {
    const { files } = this.#parts;
    for (const { fd } of opened) this.#close(fd);
    const paths = [
      ...opened.map(({ path }) => path),
      ...pending.map(({ path }) => path),
      ...renamed,
    ];
    for (const path of new Set(paths)) await files.unlink(path).catch(() => undefined);
  }

  /** What a file has was synced before, or is thrown away: a complaint at its closing changes nothing. */
  #close(fd: number): void {
    try {
      this.#parts.files.close(fd);
    } catch {
      // See above.
    }
  }

  #announce(file: Pending): void {
    this.#parts.onSegment(file.number, file.bytes);
    for (const { job, places } of file.results) {
      try {
        this.#parts.onJob({ entries: job.entries, places, kind: job.kind });
        job.done.resolve(places);
      } catch (error) {
        job.done.reject(error);
      }
    }
  }
}

/** Small messages share one file; each streamed one already has its own; copies are told apart from news. */
function filesOf(jobs: readonly Job[]): readonly GroupFile[] {
  const shared = jobs.filter((job) => job.streamed === undefined);
  const files: GroupFile[] = [];
  for (const kind of ["accepted", "copies"] as const) {
    const same = shared.filter((job) => job.kind === kind);
    if (same.length > 0) files.push({ jobs: same });
  }
  for (const job of jobs) if (job.streamed) files.push({ jobs: [job], streamed: job.streamed });
  return files;
}

function streamedBodies(entries: readonly Entry[]): readonly SourceBody[] {
  const bodies = new Set<SourceBody>();
  for (const { envelope } of entries) {
    const { body } = envelope.content;
    if (body.kind === "source") bodies.add(body);
  }
  return [...bodies];
}

function jobBytes(job: Job): number {
  let bytes = 0;
  for (const { envelope } of job.entries) {
    const { body, prefix } = envelope.content;
    bytes += prefix.length + (body.kind === "bytes" ? body.bytes.length : 0);
  }
  return bytes;
}
