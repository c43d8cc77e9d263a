import { posix } from "node:path";
import { bytesOfString, type SystemCall, systemCalls } from "./system-calls.ts";

/**
 * One step of a recorded program. Paths are relative to the directory that was watched; a handle stands for one opened
 * file. What a program says of itself is a mark.
 */
export type Step =
  | {
      readonly kind: "open";
      readonly handle: number;
      readonly path: string;
      readonly flags: OpenFlags;
    }
  /** Without an offset: at the end. */
  | {
      readonly kind: "write";
      readonly handle: number;
      readonly offset?: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "truncate"; readonly handle: number; readonly size: number }
  | { readonly kind: "sync-start" | "sync-end"; readonly handle: number; readonly sync: number }
  | { readonly kind: "rename" | "link"; readonly path: string; readonly to: string }
  | { readonly kind: "unlink" | "mkdir"; readonly path: string }
  | { readonly kind: "mark"; readonly text: string };

export interface OpenFlags {
  /** SQLite opened a directory, which it does to sync it: the platform's own calls ask for large files, SQLite's do not. */
  readonly isDirectoryOfSqlite: boolean;
  readonly create: boolean;
  readonly truncate: boolean;
}

interface OpenFile {
  /** `undefined`: the file that marks are written to. */
  readonly handle: number | undefined;
  readonly append: boolean;
  position: number;
}

/** Calls that change files in a way that is not modelled: the engine must not use them, or this must learn them. */
const NOT_MODELLED = new Set([
  ...["openat2", "creat", "close_range", "writev", "pwritev", "pwritev2", "copy_file_range"],
  ...["sendfile", "splice", "sync", "syncfs", "sync_file_range", "msync", "symlink", "truncate"],
  ...["fallocate", "io_uring_setup", "dup2", "dup3", "rmdir"],
]);

/**
 * Reads a log of strace as the steps that were done to files below `base`. A change counts from its end on; a sync has a
 * start and an end, since it covers what was done before it started and has done so when it has ended.
 */
export function readRecording(log: string, base: string, marks: string): readonly Step[] {
  const recorder = new Recorder(base, marks);
  for (const call of systemCalls(log)) recorder.take(call);
  return recorder.steps;
}

/** The same recording as if SQLite had left directories alone: it ignores it when their syncs fail. */
export function withoutDirectorySyncsOfSqlite(steps: readonly Step[]): readonly Step[] {
  const handles = new Set<number>();
  for (const step of steps) {
    if (step.kind === "open" && step.flags.isDirectoryOfSqlite) handles.add(step.handle);
  }
  const isSync = ({ kind }: Step) => kind === "sync-start" || kind === "sync-end";
  return steps.filter((step) => !(isSync(step) && "handle" in step && handles.has(step.handle)));
}

class Recorder {
  readonly steps: Step[] = [];
  readonly #base: string;
  readonly #marks: string;
  readonly #files = new Map<number, OpenFile>();
  readonly #syncs = new Map<number, number>();
  #count = 0;

  constructor(base: string, marks: string) {
    this.#base = base;
    this.#marks = marks;
  }

  take({ at, name, args, result }: SystemCall): void {
    const fd = Number(args[0]);
    const file = this.#files.get(fd);
    // Another thread may get the number before the call has returned.
    if (name === "close" && at === "start") this.#files.delete(fd);
    if (name === "fsync" || name === "fdatasync") this.#sync(at, fd, file, result);
    if (at === "start" || result < 0) return;
    if (name === "open" || name === "openat") this.#open(name, args, result);
    else if (name === "dup" || (name === "fcntl" && args[1]?.startsWith("F_DUPFD")))
      this.#dup(file, result);
    else if (file !== undefined) this.#change(name, args, file, result);
    else this.#changeNames(name, args);
  }

  #sync(at: SystemCall["at"], fd: number, file: OpenFile | undefined, result: number): void {
    if (file?.handle === undefined) return;
    if (at === "start") {
      this.#count += 1;
      this.#syncs.set(fd, this.#count);
      this.steps.push({ kind: "sync-start", handle: file.handle, sync: this.#count });
    } else if (result === 0) {
      this.steps.push({ kind: "sync-end", handle: file.handle, sync: this.#syncs.get(fd) ?? 0 });
    }
  }

  #open(name: string, args: readonly string[], fd: number): void {
    const [path = "", flags = ""] = name === "open" ? args : args.slice(1);
    const where = this.#pathOf(path);
    const isMarks = posix.join(this.#base, where ?? "..") === this.#marks || this.#isMarks(path);
    this.#files.delete(fd);
    if (where === undefined && !isMarks) return;
    const append = flags.includes("O_APPEND");
    this.#count += 1;
    const handle = isMarks ? undefined : this.#count;
    this.#files.set(fd, { handle, append, position: 0 });
    if (where === undefined || handle === undefined) return;
    const [create, truncate] = [flags.includes("O_CREAT"), flags.includes("O_TRUNC")];
    const isDirectoryOfSqlite = flags.startsWith("O_RDONLY") && !flags.includes("O_LARGEFILE");
    const how = { create, truncate, isDirectoryOfSqlite };
    this.steps.push({ kind: "open", handle, path: where, flags: how });
  }

  #dup(file: OpenFile | undefined, fd: number): void {
    if (file === undefined) this.#files.delete(fd);
    else this.#files.set(fd, file);
  }

  #change(name: string, args: readonly string[], file: OpenFile, result: number): void {
    const { handle } = file;
    if (handle === undefined) {
      if (name !== "write") return;
      const text = bytesOfString(args[1] ?? "").toString();
      for (const line of text.split("\n").slice(0, -1))
        this.steps.push({ kind: "mark", text: line });
    } else if (name === "write" || name === "pwrite64") {
      const bytes = bytesOfString(args[1] ?? "").subarray(0, result);
      const at = name === "write" ? file.position : Number(args[3]);
      if (name === "write") file.position += result;
      this.steps.push({ kind: "write", handle, bytes, ...(file.append ? {} : { offset: at }) });
    } else if (name === "ftruncate") {
      this.steps.push({ kind: "truncate", handle, size: Number(args[1]) });
    } else if (name === "lseek") {
      file.position = result;
    } else if (NOT_MODELLED.has(name)) throw new Error(`${name} is not modelled`);
  }

  #changeNames(name: string, args: readonly string[]): void {
    const paths = args.filter((arg) => arg.startsWith('"')).map((arg) => this.#pathOf(arg));
    const [path, to] = paths;
    if (name === "io_uring_setup") throw new Error(`${name} is not modelled`);
    if (path === undefined) return;
    if (/^rename/u.test(name)) this.steps.push({ kind: "rename", path, to: to ?? "" });
    else if (/^link/u.test(name)) this.steps.push({ kind: "link", path, to: to ?? "" });
    else if (/^unlink/u.test(name)) this.steps.push({ kind: "unlink", path });
    else if (/^mkdir/u.test(name)) this.steps.push({ kind: "mkdir", path });
    else if (NOT_MODELLED.has(name)) throw new Error(`${name} is not modelled`);
  }

  #isMarks(arg: string): boolean {
    return bytesOfString(arg).toString() === this.#marks;
  }

  /** Relative to what is watched; `undefined` for a path outside. All of ours are absolute. */
  #pathOf(arg: string): string | undefined {
    const path = posix.relative(this.#base, bytesOfString(arg).toString());
    return path.startsWith("..") ? undefined : path;
  }
}
